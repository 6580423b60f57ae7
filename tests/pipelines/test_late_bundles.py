"""Of two runs that make a bundle the one that began later publishes, whichever is ready first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from model.bundle.loading import verify
from model.dataset.examples import open_examples, run_fingerprint
from model.kernels import library
from pipelines import calibrate, export, import_model
from tests.model import tiny_bundle
from tests.model.tiny_examples import write_examples
from tests.model.tiny_recipes import recipe
from tests.pipelines.test_import_model import siamese
from tests.pipelines.test_import_model import write as write_model
from tests.scoring_kit import write
from transforms.accounts.staging import Staging
from transforms.errors import RunError
from transforms.storage import lock

Run = Callable[[Sequence[str]], Any]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, the examples that it comes from, labelled scores of it, and a Keras model."""
    folder = tmp_path_factory.mktemp("given")
    rules = recipe()
    write_examples(folder / "examples", rules.to_yaml())
    metrics = {
        "run": run_fingerprint(rules, open_examples(str(folder / "examples"))),
        "threshold_rule": "accuracy",
        "vocabulary_size": tiny_bundle.VOCABULARY_SIZE,
    }
    graph = tiny_bundle.write_graph(folder / "graph", tokenizer="char")
    tiny_bundle.export(folder / "bundle", tiny_bundle.build(rules), rules, graph, metrics=metrics)
    rows = range(60)
    scores = {
        "sentence1": [f"如何还款 {row}" for row in rows],
        "sentence2": ["怎么还款？"] * len(rows),
        "label": [int(row % 7 + row % 3 > 3) for row in rows],
        "similarity": pa.array([(row % 7) / 10 for row in rows], pa.float32()),
    }
    write(folder / "scores.parquet", pa.table(scores))
    write_model(folder, siamese())
    return folder


def commands(given: Path) -> dict[str, tuple[Run, list[str], list[str], list[str]]]:
    """A command → what runs it, its flags, and those by which the older and the later differ."""
    model = ["--model", str(given / "bundle")]
    words = ["--vocabulary", str(given / "words.json")]
    return {
        "calibrate": (
            calibrate.run,
            [*model, "--input", str(given / "scores.parquet")],
            ["--method", "platt"],
            ["--method", "isotonic"],
        ),
        "export": (
            export.run,
            [*model, "--examples", str(given / "examples"), "--precision", "int16"],
            ["--max_flipped", "1"],
            ["--max_flipped", "0.99"],
        ),
        "import": (
            import_model.run,
            [str(given / "own.keras"), *words],
            ["--threshold", "0.4"],
            ["--threshold", "0.6"],
        ),
    }


@pytest.mark.parametrize("command", ["calibrate", "export", "import"])
def test_a_run_that_was_overtaken_publishes_nothing(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    if command == "export" and library.open_library() is None:
        pytest.skip("the library is not here")
    monkeypatch.setattr(lock, "_take", lambda path, busy: None)  # two machines share no lock
    monkeypatch.setattr(lock, "_release", lambda path, held: None)
    run, flags, older, later = commands(given)[command]
    flags = [*flags, "--output", str(tmp_path / "new"), "--overwrite"]
    publish, ready = Staging.publish_copy, []

    def overtaken(staging: Staging, *args: Any, **kwargs: Any) -> None:
        ready.append(staging.run)
        if len(ready) == 1:  # the older one is ready, and has yet to publish
            run([*flags, *later])
        publish(staging, *args, **kwargs)

    monkeypatch.setattr(Staging, "publish_copy", overtaken)
    with pytest.raises(RunError, match="taken over by another run"):
        run([*flags, *older])
    assert len(set(ready)) == 2
    made = verify(str(tmp_path / "new"))
    monkeypatch.setattr(Staging, "publish_copy", publish)
    run([*flags, "--output", str(tmp_path / "alone"), *later])
    assert made["threshold"] == verify(str(tmp_path / "alone"))["threshold"]
