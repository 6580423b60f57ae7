"""The training loop: epochs of steps, an evaluation after each, the best epoch kept.

Keras's own fit fails under several workers and cannot resume inside an epoch, so this loop is
ours, on public API only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from model.dataset.batches import InputShare, evaluation_batches, training_batches
from model.dataset.examples import Examples, run_fingerprint
from model.network.forward import choose_forward
from model.network.losses import make_loss
from model.network.siamese import Siamese, build_siamese
from model.recipe.recipe import Recipe
from model.training.checkpoints import Checkpoints, Progress
from model.training.evaluation import MEASURES, EvaluatedPairs, evaluate, quality
from model.training.optimizers import make_optimizer
from model.training.reporter import Reporter
from model.training.sigterm import Stop
from model.training.steps import distribute, make_eval_step, make_train_step
from model.training.strategy import Placement
from transforms.errors import RunError, UserError


@dataclass(frozen=True)
class CheckpointOptions:
    """Where checkpoints go, and after how many steps or minutes."""

    folder: str
    every_steps: int | None = None
    every_minutes: float | None = 10


@dataclass(frozen=True)
class FitResult:
    """The network holds the weights of `best_epoch` (from 1); `evaluation` is theirs."""

    best_epoch: int
    history: list[dict]
    evaluation: EvaluatedPairs


def fit(
    siamese: Siamese,
    recipe: Recipe,
    examples: Examples,
    *,
    placement: Placement,
    reporter: Reporter,
    checkpoints: CheckpointOptions | None = None,
) -> FitResult:
    """Train `siamese`, built in the placement's scope, as `recipe.training` says.

    With checkpoints it goes on from the last one of this very run.

    Raises:
        UserError: the checkpoints are another run's, or the workers disagree about what to train.
        RunError: SIGTERM came, or another worker was lost.
    """
    with Stop() as stop, reporter, placement.lost_workers():
        run = _Run(siamese, recipe, examples, placement, reporter, checkpoints, stop)
        return run.to_the_end()


class _Run:
    """What one training run holds on to."""

    def __init__(
        self,
        siamese: Siamese,
        recipe: Recipe,
        examples: Examples,
        placement: Placement,
        reporter: Reporter,
        options: CheckpointOptions | None,
        stop: Stop,
    ):
        self.recipe, self.training = recipe, recipe.training
        self.strategy = placement.strategy
        # Evaluated and exported is `siamese`; trained is the same, or one of another precision.
        trained = self._in_precision(siamese, examples)
        self.exact, self.network = siamese.network, trained.network
        self.forward = choose_forward(trained, recipe)
        self.eval_forward = choose_forward(siamese, recipe)
        self.monitor = f"eval_{MEASURES[recipe.task]}"
        self.reporter, self.stop, self.chief = reporter, stop, placement.cluster.is_chief
        self.steps = -(-examples.train.total // self.training.batch_size)
        with self.strategy.scope():
            self.optimizer = make_optimizer(recipe, self.steps)
            self.optimizer.build(self.network.trainable_variables)
        self.progress, self.best = Progress(), self.weights()
        self.checkpoints = self._open(options, examples)
        self._agree(placement, examples)
        self._prepare_training(examples, self.strategy)
        self._prepare_evaluation(examples, self.strategy)

    def _in_precision(self, siamese: Siamese, examples: Examples) -> Siamese:
        precision = self.training.precision
        if precision == "float32":
            return siamese
        with self.strategy.scope():
            trained = build_siamese(
                self.recipe, vocabulary_size=examples.vocabulary_size, precision=precision
            )
        _copy_weights(siamese.network, trained.network)
        return trained

    def _open(self, options: CheckpointOptions | None, examples: Examples) -> Checkpoints | None:
        if options is None:
            return None
        checkpoints = Checkpoints(
            options.folder,
            variables=self.network.variables + self.optimizer.variables,
            best=self.best,
            run=run_fingerprint(self.recipe, examples),
            every_steps=options.every_steps,
            every_minutes=options.every_minutes,
        )
        found = checkpoints.restore()
        if found:
            self.progress, self.best = found
            self.reporter.line(
                f"going on from the checkpoint in {options.folder}: epoch "
                f"{self.progress.epoch + 1}, step {self.progress.step} of {self.steps}"
            )
        return checkpoints

    def _agree(self, placement: Placement, examples: Examples) -> None:
        """Workers that train other things, or from elsewhere, would wait for each other for ever.

        Raises:
            UserError: they do.
        """
        number = int(run_fingerprint(self.recipe, examples)[:6], 16)
        rows = placement.gather(number, self.progress.epoch, self.progress.step)
        if (rows == rows[0]).all():
            return
        places = sorted({f"epoch {epoch + 1:.0f} step {step:.0f}" for _, epoch, step in rows})
        raise UserError(
            "the workers disagree: all need the same flags, the same examples, and a "
            f"--checkpoints folder that each of them sees; they would go on from {places}"
        )

    def _prepare_training(self, examples: Examples, strategy: tf.distribute.Strategy) -> None:
        def make(share: InputShare) -> tf.data.Dataset:
            return training_batches(
                examples.train.files,
                batch_size=self.training.batch_size,
                seed=self.training.seed,
                epoch=self.progress.epoch,
                epochs=self.training.epochs,
                skip_steps=self.progress.step,
                share=share,
                rows=examples.train.rows,
                raw_text=self.recipe.reads_text,
                triplets=self.recipe.reads_triplets,
                length_noise=self.training.length_noise,
            )

        self.batches, spec = distribute(strategy, make)
        self.train_step = make_train_step(
            strategy,
            self.network,
            self.forward,
            make_loss(self.recipe),
            self.optimizer,
            batch_size=self.training.batch_size,
            mirror=self.training.mirror,
            xla=self.training.xla,
            token_dropout=self.recipe.embedding.token_dropout if self.recipe.embedding else 0.0,
            element_spec=spec,
        )

    def _prepare_evaluation(self, examples: Examples, strategy: tf.distribute.Strategy) -> None:
        size = self.training.batch_size

        def make(share: InputShare) -> tf.data.Dataset:
            return evaluation_batches(
                examples.eval.files,
                batch_size=size,
                share=share,
                rows=examples.eval.rows,
                raw_text=self.recipe.reads_text,
                triplets=self.recipe.reads_triplets,
            )

        self.eval_batches, spec = distribute(strategy, make)
        self.eval_steps = -(-examples.eval.total // size)
        self.eval_step = make_eval_step(
            strategy, self.eval_forward, make_loss(self.recipe), element_spec=spec
        )

    def to_the_end(self) -> FitResult:
        """All epochs that are left; then the best epoch's weights are put back."""
        evaluation = None
        while self.progress.epoch < self.training.epochs and not self._out_of_patience():
            evaluation = self._epoch()
        if evaluation is None or self.progress.best_epoch != self.progress.epoch - 1:
            self.set_weights(self.best)
            evaluation = self._evaluate()
        else:
            self.set_weights(self.best)
            _copy_weights(self.network, self.exact)
        return FitResult(self.progress.best_epoch + 1, self.progress.history, evaluation)

    def _epoch(self) -> EvaluatedPairs:
        progress, epochs = self.progress, self.training.epochs
        self.reporter.begin_epoch(progress.epoch + 1, epochs, progress.step, self.steps)
        self._train_steps()
        with self._averaged():
            evaluation = self._evaluate()
            record = self._record(evaluation)
            if self._to_be_kept(record):
                progress.best_epoch, self.best = progress.epoch, self.weights()
        progress.history.append(record)
        self.progress = Progress(
            epoch=progress.epoch + 1, best_epoch=progress.best_epoch, history=progress.history
        )
        self._save()
        self.reporter.end_epoch(record, epochs)
        return evaluation

    def _train_steps(self) -> None:
        progress, began, rows, before = self.progress, time.monotonic(), 0.0, self.progress.seconds
        while progress.step < self.steps:
            wish = tf.constant(float(self.stop.wanted))
            loss, weight, stop = self.train_step(next(self.batches), wish).numpy().tolist()
            progress.step += 1
            progress.loss_sum += loss
            rows += weight
            progress.rows += weight
            progress.seconds = before + time.monotonic() - began
            self.reporter.step(progress.step, rows, progress.loss_sum / progress.rows)
            due = self.checkpoints and self.checkpoints.due()
            if stop or due:
                self._save()
            if stop:
                self._give_up()

    def _save(self) -> None:
        if self.checkpoints and self.chief:
            self.checkpoints.save(self.progress, self.best)

    def _give_up(self) -> None:
        place = f"epoch {self.progress.epoch + 1}, step {self.progress.step} of {self.steps}"
        if self.checkpoints is None:
            raise RunError(f"stopped by SIGTERM at {place}; without --checkpoints nothing is kept")
        raise RunError(
            f"stopped by SIGTERM at {place}; a checkpoint lies in {self.checkpoints.folder}, the "
            "same command goes on from it"
        )

    def _evaluate(self) -> EvaluatedPairs:
        _copy_weights(self.network, self.exact)
        return evaluate(self.recipe, self.eval_step, self.eval_batches, self.eval_steps)

    def _record(self, evaluation: EvaluatedPairs) -> dict:
        progress = self.progress
        return {
            "epoch": progress.epoch + 1,
            "loss": progress.loss_sum / progress.rows,
            "eval_loss": evaluation.loss,
            self.monitor: quality(self.recipe, evaluation),
            "learning_rate": float(keras.ops.convert_to_numpy(self.optimizer.learning_rate)),
            "seconds": progress.seconds,
            "pairs_per_second": progress.rows / max(progress.seconds, 1e-9),
        }

    def _to_be_kept(self, record: dict) -> bool:
        best, history = self.progress.best_epoch, self.progress.history
        if best < 0 or self.training.keep == "last":
            return True
        return record[self.monitor] > history[best][self.monitor]

    def _out_of_patience(self) -> bool:
        patience, best = self.training.patience, self.progress.best_epoch
        return patience is not None and best >= 0 and self.progress.epoch - 1 - best >= patience

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving average in place of the weights, where the recipe keeps one."""
        if self.training.average is None:
            yield
            return
        own = self.weights()
        with self.strategy.scope():
            self.optimizer.finalize_variable_values(self.network.trainable_variables)
        yield
        self.set_weights(own)

    def weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.network.trainable_variables]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        for variable, value in zip(self.network.trainable_variables, weights, strict=True):
            variable.assign(value)


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """All weights, from one network to another of the same shape; nothing where it is itself."""
    if source is target:
        return
    for variable, value in zip(target.variables, source.variables, strict=True):
        variable.assign(value.numpy())
