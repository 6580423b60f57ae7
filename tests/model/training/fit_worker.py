"""A training process: `python -m tests.model.training.fit_worker FOLDER OUT [CHECKPOINTS]`.

Trains on the examples in FOLDER by the recipe in it and writes weights and history to OUT. A line
`step N` goes to stdout after each step, for those who want to kill it there.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np

from model.dataset.examples import open_examples
from model.network.siamese import build_siamese
from model.recipe.reading import load_recipe
from model.training.checkpoints import CheckpointOptions
from model.training.fitting import fit
from model.training.reporter import Reporter
from model.training.strategy import choose_strategy
from transforms.errors import RunError


class Telling(Reporter):
    """Tells every step, and what each of them lost."""

    def __init__(self) -> None:
        super().__init__(silent=True)
        self.losses: list[float] = []

    def step(self, done: int, rows: float, loss: float) -> None:
        self.losses.append(loss)
        print(f"step {len(self.losses)}", flush=True)


def main(folder: str, out: str, checkpoints: str | None = None) -> int:
    placement = choose_strategy()
    examples = open_examples(folder)
    recipe = load_recipe(examples.recipe_path)
    keras.utils.set_random_seed(recipe.training.seed)
    with placement.strategy.scope():
        siamese = build_siamese(recipe, vocabulary_size=examples.vocabulary_size)
    reporter = Telling()
    try:
        result = fit(
            siamese,
            recipe,
            examples,
            placement=placement,
            reporter=reporter,
            checkpoints=CheckpointOptions(checkpoints, every_steps=3) if checkpoints else None,
        )
    except RunError as error:
        print(f"twinbeam: {error}", file=sys.stderr, flush=True)
        return 1
    history = json.dumps({"losses": reporter.losses, "history": result.history})
    np.savez(out, *siamese.network.get_weights(), history=history)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
