"""A bundle in another precision: measured beside the first one, refused where it loses too much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.bundle import loading, precision
from model.bundle.loading import load
from model.dataset.examples import open_examples, run_fingerprint
from model.kernels import library
from model.kernels.encoders import about
from model.scoring.engine import Engine
from pipelines import export
from tests.model import tiny_bundle
from tests.model.tiny_bundle import SENTENCES, build, write_graph
from tests.model.tiny_examples import write_examples
from tests.model.tiny_recipes import recipe
from transforms.errors import RunError, UserError

pytestmark = pytest.mark.skipif(library.open_library() is None, reason="the library is not here")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An examples folder, and a bundle as if it were trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    rules = recipe()
    write_examples(folder / "examples", rules.to_yaml())
    graph = write_graph(folder / "graph", tokenizer="char")
    run = run_fingerprint(rules, open_examples(str(folder / "examples")))
    tiny_bundle.export(
        folder / "bundle", build(rules), rules, graph,
        metrics={"run": run, "threshold_rule": "accuracy", "vocabulary_size": 200},
    )  # fmt: skip
    return folder


def flags(trained: Path, output: Path, *more: str) -> list[str]:
    return [
        *("--model", str(trained / "bundle"), "--examples", str(trained / "examples")),
        *("--output", str(output), "--precision", "int16", *more),
    ]


def test_a_bundle_in_int16_says_so_and_scores_near_the_first(trained, tmp_path, capsys):
    manifest = export.run(flags(trained, tmp_path / "new", "--max_flipped", "1"))
    printed = capsys.readouterr().out
    assert "labels flipped: " in printed and "eval_accuracy" in printed
    old, new = load(str(trained / "bundle")), load(str(tmp_path / "new"))
    assert manifest["precision"] == "int16"
    assert manifest["exported_from"] == old.manifest["fingerprint"] != manifest["fingerprint"]
    metrics = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert metrics["threshold"] == manifest["threshold"]
    assert {"before", "after", "flipped"} <= set(metrics["precision"])
    exact, near = (Engine(bundle, cache_mb=0).encode(SENTENCES) for bundle in (old, new))
    assert 0 < np.abs(exact - near).max() < 2e-3
    # The label that the SavedModel gives is that of the new threshold.
    compared = new.compare(exact, exact[::-1].copy())
    expected = compared["similarity"] >= np.float32(manifest["threshold"])
    np.testing.assert_array_equal(compared["label"], expected)


def test_too_many_flipped_labels_are_refused_and_nothing_is_written(trained, tmp_path, monkeypatch):
    def ruined(*given):
        arrays = precision.with_precision(*given)
        return arrays | {"embeddings": arrays["embeddings"][::-1].copy()}

    monkeypatch.setattr(
        precision, "in_precision", lambda folder, to, _: ruined(arrays_of(folder), to)
    )
    with pytest.raises(RunError, match=r"int16 flips .* more than --max_flipped 0\.1000%"):
        export.run(flags(trained, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def arrays_of(folder: str) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / loading.PACKED) as kept:
        return dict(kept)


def test_what_it_is_exported_to_already_is_said(trained, tmp_path):
    export.run(flags(trained, tmp_path / "new", "--max_flipped", "1"))
    again = flags(trained, tmp_path / "newer")
    again[1] = str(tmp_path / "new")
    with pytest.raises(UserError, match="computes in int16 already"):
        export.run(again)
    back = [*again[:-1], "float32", "--max_flipped", "1"]
    export.run(back)
    kept, first = arrays_of(str(tmp_path / "newer")), arrays_of(str(trained / "bundle"))
    assert about(kept) == about(first)
    np.testing.assert_array_equal(kept["embeddings"], first["embeddings"])


def test_examples_of_another_run_are_refused(trained, tmp_path):
    other = write_examples(tmp_path / "other", recipe().to_yaml(), rows=33)
    given = flags(trained, tmp_path / "new")
    given[3] = str(other)
    with pytest.raises(UserError, match="are not those that .* was trained on"):
        export.run(given)


def test_without_the_library_int16_is_refused_and_not_replaced(trained, tmp_path, monkeypatch):
    export.run(flags(trained, tmp_path / "new", "--max_flipped", "1"))
    monkeypatch.setattr(loading, "open_encoder", lambda arrays: None)
    load(str(trained / "bundle"))  # float32: TensorFlow does the same
    with pytest.raises(UserError, match="computes in int16, which needs the C"):
        load(str(tmp_path / "new"))
