"""The training loop: epochs of steps, an evaluation after each, the best epoch kept.

Keras's own fit fails under several workers and cannot resume inside an epoch, so this loop is
ours, on public API only.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf

from model.dataset.batch_plan import EpochOrder
from model.dataset.data_sets import data_sets, order_of_steps
from model.dataset.examples import Examples, run_fingerprint
from model.network.siamese import Siamese
from model.recipe.recipe import Recipe
from model.training.checkpoints import (
    CheckpointOptions,
    Checkpoints,
    Progress,
    open_checkpoints,
    stopped_message,
)
from model.training.evaluation import EvaluatedPairs, better, evaluate, monitored, quality
from model.training.inputs import arranged, evaluation_step, learner_of, training_step
from model.training.reporter import Reporter
from model.training.sigterm import SigtermFlag
from model.training.strategy import Placement
from model.training.weights import TrainedWeights, share_weights
from transforms.errors import RunError


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

    With checkpoints it resumes from the last one of this run.

    Raises:
        UserError: the checkpoints are another run's, or the workers disagree about what to train.
        RunError: SIGTERM came, another worker was lost, or the loss is no longer a number.
    """
    with SigtermFlag() as sigterm, reporter, placement.lost_workers():
        run = _TrainingLoop(siamese, recipe, examples, placement, reporter, checkpoints, sigterm)
        with run.scratch:
            return run.to_the_end()


class _TrainingLoop:
    """The loop: it holds the weights, the input and how far it has come."""

    def __init__(
        self,
        siamese: Siamese,
        recipe: Recipe,
        examples: Examples,
        placement: Placement,
        reporter: Reporter,
        options: CheckpointOptions | None,
        sigterm: SigtermFlag,
    ):
        self.recipe, self.training, self.examples = recipe, recipe.training, examples
        self.reporter, self.sigterm, self.chief = reporter, sigterm, placement.cluster.is_chief
        self.scratch = TemporaryDirectory(prefix="twinbeam-")
        self.run = run_fingerprint(recipe, examples)
        self.data_sets = data_sets(recipe, examples, siamese.dimensions)
        self.steps = sum(each.steps for each in self.data_sets)
        # Before anything is shared: other recipes have other shapes, and would only hang.
        placement.check_agreement(self.run, 0, 0)
        share_weights(siamese.network, placement)
        self.weights = TrainedWeights(
            siamese,
            recipe,
            placement,
            vocabulary_size=examples.vocabulary_size,
            steps=self.steps,
        )
        self.progress, self.best = Progress(), self.weights.values()
        # Once more: a worker that does not see the checkpoints would begin at the first epoch.
        self.checkpoints = self._open(options)
        placement.check_agreement(self.run, self.progress.epoch, self.progress.step)
        self._prepare_training(placement.strategy)
        self.eval_batches, self.eval_step, self.eval_steps = evaluation_step(
            placement.strategy, recipe, examples, self.weights.exact
        )

    def _open(self, options: CheckpointOptions | None) -> Checkpoints | None:
        if options is None:
            return None
        checkpoints = open_checkpoints(
            options, variables=self.weights.state, best=self.best, run=self.run
        )
        found = checkpoints.restore()
        if found:
            self.progress, self.best = found
            self.reporter.line(f"resuming from the checkpoint in {options.folder}: {self._place}")
        return checkpoints

    def _prepare_training(self, strategy: tf.distribute.Strategy) -> None:
        epochs = range(self.progress.epoch, self.training.epochs)
        done = self._order()[: self.progress.step]
        self.batches, self.train_steps = [], []
        for number, each in enumerate(self.data_sets):
            records, sentences = arranged(each, Path(self.scratch.name) / str(number))
            if sentences is not None:
                self.reporter.line(
                    f"neighbours: a batch has {sentences:.2f} sentences for each pair"
                )
            order = EpochOrder(self.training.seed, self.training.length_noise, sentences is None)
            skip = int(np.sum(done == number))
            make = partial(
                each.batches, records=records, order=order, epochs=epochs, skip_steps=skip
            )
            learner = learner_of(each.recipe, self.weights, first=number == 0)
            batches, step = training_step(strategy, learner, make)
            self.batches.append(batches)
            self.train_steps.append(step)

    def _order(self) -> np.ndarray:
        """Which data set each step of this epoch is of."""
        return order_of_steps(self.data_sets, self.training.seed, self.progress.epoch)

    def to_the_end(self) -> FitResult:
        """All epochs that are left; then the best epoch's weights are put back."""
        evaluation = None
        while self.progress.epoch < self.training.epochs and not self._out_of_patience():
            evaluation = self._epoch()
        self.weights.assign(self.best)
        # What is returned must be the kept epoch's: measured just now, or measured again.
        if evaluation is None or self.progress.best_epoch != self.progress.epoch - 1:
            evaluation = self._evaluate()
        else:
            self.weights.update_exact()
        return FitResult(self.progress.best_epoch + 1, self.progress.history, evaluation)

    def _epoch(self) -> EvaluatedPairs:
        progress, epochs = self.progress, self.training.epochs
        self.reporter.begin_epoch(progress.epoch + 1, epochs, progress.step, self.steps)
        self._train_steps()
        with self.weights.averaged():
            evaluation = self._evaluate()
            record = self._record(evaluation)
            if self._to_be_kept(record):
                progress.best_epoch, self.best = progress.epoch, self.weights.values()
        progress.history.append(record)
        # A new record of progress: what is saved says that the next epoch has not begun.
        self.progress = Progress(
            epoch=progress.epoch + 1, best_epoch=progress.best_epoch, history=progress.history
        )
        self._save()
        self.reporter.end_epoch(record, epochs)
        return evaluation

    def _train_steps(self) -> None:
        progress, began, rows, before = self.progress, time.monotonic(), 0.0, self.progress.seconds
        order = self._order()
        while progress.step < self.steps:
            # Each worker says whether it was asked to stop; the step adds this up, so all of them
            # stop after the same step, and no worker waits in a collective for one that is gone.
            stop_wish = tf.constant(float(self.sigterm.wanted))
            number = order[progress.step]
            step, batch = self.train_steps[number], next(self.batches[number])
            loss, weight, stopping = step(batch, stop_wish).numpy().tolist()
            progress.step += 1
            self._check(loss)  # before it may be saved
            progress.loss_sum += loss
            rows += weight
            progress.rows += weight
            progress.seconds = before + time.monotonic() - began
            self.reporter.step(progress.step, rows, progress.loss_sum / progress.rows)
            due = self.checkpoints and self.checkpoints.due()
            if stopping or due:
                self._save()
            if stopping:
                raise RunError(stopped_message(self._place, self.checkpoints))

    @property
    def _place(self) -> str:
        return f"epoch {self.progress.epoch + 1}, step {self.progress.step} of {self.steps}"

    def _check(self, loss: float) -> None:
        """Weights that are NaN never become numbers again, and must not be saved.

        Raises:
            RunError: the loss, or a gradient, is not finite.
        """
        if not math.isfinite(loss):
            raise RunError(
                f"training stopped at {self._place}: the loss or its gradient is no longer finite; "
                f"lower training.learning_rate ({self.training.learning_rate:g}), or set "
                "training.clip_norm"
            )

    def _save(self) -> None:
        if self.checkpoints and self.chief:
            self.checkpoints.save(self.progress, self.best)

    def _evaluate(self) -> EvaluatedPairs:
        self.weights.update_exact()
        evaluation = evaluate(self.recipe, self.eval_step, self.eval_batches, self.eval_steps)
        self._check(evaluation.loss)
        return evaluation

    def _record(self, evaluation: EvaluatedPairs) -> dict:
        progress, rate = self.progress, self.weights.optimizer.learning_rate
        return {
            "epoch": progress.epoch + 1,
            "loss": progress.loss_sum / progress.rows,
            "eval_loss": evaluation.loss,
            monitored(self.recipe): quality(self.recipe, evaluation),
            "learning_rate": float(keras.ops.convert_to_numpy(rate)),
            "seconds": progress.seconds,
            "pairs_per_second": progress.rows / max(progress.seconds, 1e-9),
        }

    def _to_be_kept(self, record: dict) -> bool:
        best, history = self.progress.best_epoch, self.progress.history
        if best < 0 or self.training.keep == "last":
            return True
        name = monitored(self.recipe)
        return better(self.recipe, record[name], history[best][name])

    def _out_of_patience(self) -> bool:
        patience, best = self.training.patience, self.progress.best_epoch
        return patience is not None and best >= 0 and self.progress.epoch - 1 - best >= patience
