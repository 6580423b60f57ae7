from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pipelines import inspect, try_pairs
from tests.scored_pairs import scored_table, write_scores
from transforms.errors import UserError
from transforms.text.token_ids import UNKNOWN_ID


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    folder = write_scores(tmp_path / "scores", scored_table(50))
    manifest = json.loads((folder / "_manifest.json").read_text())
    for file in manifest["files"]:
        file["sha256"] = hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest()
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    return folder


def test_scores_are_reported(scores: Path, capsys):
    found = inspect.run([str(scores), "--json"])

    assert json.loads(capsys.readouterr().out) == found
    assert found["kind"] == "scores" and found["sums"] == "valid" and found["finished"]
    assert (found["rows_scored"], found["files"], found["reject_files"]) == (50, 2, 1)
    assert found["schema"]["similarity"] == "float"
    inspect.run([str(scores)])
    assert "rows scored" in capsys.readouterr().out


def test_a_changed_file_is_named(scores: Path):
    (scores / "pairs-1.parquet").write_bytes(b"x")
    assert inspect.inspect(str(scores))["sums"] == "pairs-1.parquet was changed"
    (scores / "pairs-1.parquet").unlink()
    assert inspect.inspect(str(scores))["sums"] == "pairs-1.parquet is missing"
    assert "sums" not in inspect.inspect(str(scores), sums=False)


def test_examples_are_reported(tmp_path: Path):
    content = b"records"
    file = {"rows": 3, "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "rows_in": 5, "recipe": "r", "train_files": [file | {"name": "train-0"}],
        "eval_files": [file | {"name": "eval-0"}],
    }  # fmt: skip
    (tmp_path / "transform_fn").mkdir()
    (tmp_path / "transform_fn/saved_model.pb").touch()
    (tmp_path / "train-0").write_bytes(content)
    (tmp_path / "eval-0").write_bytes(content)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    found = inspect.inspect(str(tmp_path))

    assert (found["kind"], found["sums"], found["finished"]) == ("examples", "valid", False)


def test_a_foreign_folder_is_reported(tmp_path: Path):
    with pytest.raises(UserError, match="none of ours"):
        inspect.inspect(str(tmp_path))


class FakeBundle:
    """Similarity 1 where the sentences are equal, else 0.25."""

    def __init__(self, classes: list[str] | None = None):
        self.manifest = {"task": "classes" if classes else "binary", "classes": classes}

    def score(self, sentence1: np.ndarray, sentence2: np.ndarray) -> dict[str, np.ndarray]:
        same = sentence1 == sentence2
        found = {"similarity": np.where(same, 1.0, 0.25), "label": same.astype(int)}
        chances = {"probabilities": np.array([[0.25, 0.75]])} if self.manifest["classes"] else {}
        return found | chances


def test_a_pair_in_a_line():
    assert try_pairs.format_scores(FakeBundle(), "a", "b") == "similarity 0.2500\tlabel 0"
    printed = try_pairs.format_scores(FakeBundle(["no", "yes"]), "a", "a")
    assert printed == "similarity 1.0000\tlabel yes\tno 0.2500\tyes 0.7500"


def test_a_loop_from_standard_input(monkeypatch, capsys):
    monkeypatch.setattr("model.bundle.loading.load", lambda folder: FakeBundle())
    monkeypatch.setattr(try_pairs, "import_tensorflow", lambda: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("a\ta\nno tab\n\na\tb\n"))

    assert try_pairs.run(["bundle"]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["similarity 1.0000\tlabel 1", "similarity 0.2500\tlabel 0"]
    assert "no tab" in printed.err
    with pytest.raises(UserError, match="two sentences"):
        try_pairs.run(["bundle", "one"])


class WordBundle:
    """Similarity: the share of the first one's words that the second has; unknown: `x…`."""

    manifest: ClassVar = {"task": "binary"}
    reads_text = False

    def score(self, sentence1: np.ndarray, sentence2: np.ndarray) -> dict[str, np.ndarray]:
        shares = [
            len(set(a.split()) & set(b.split())) / len(a.split())
            for a, b in zip(sentence1, sentence2, strict=True)
        ]
        return {"similarity": np.array(shares), "label": np.array(shares) > 0.5}

    def tokenize(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        words = [text.split() for text in sentences]
        ids = [UNKNOWN_ID if word.startswith("x") else 9 for text in words for word in text]
        return np.array(ids), np.array([len(text) for text in words])


def test_an_explanation_counts_tokens_and_leaves_out_each_word(monkeypatch, capsys):
    monkeypatch.setattr("model.bundle.loading.load", lambda folder: WordBundle())
    monkeypatch.setattr(try_pairs, "import_tensorflow", lambda: None)
    try_pairs.run(["bundle", "pay xrent", "pay xwhere xnow", "--explain"])
    # 1 of 2 words is shared; without "pay" in either sentence none, without "xrent" all.
    assert capsys.readouterr().out.splitlines() == [
        "similarity 0.5000\tlabel 0",
        "  first: 2 tokens, 1 not in the vocabulary",
        "  second: 3 tokens, 2 not in the vocabulary",
        "  without 'pay' in the first: -0.5000",
        "  without 'xrent' in the first: +0.5000",
        "  without 'pay' in the second: -0.5000",
        "  without 'xwhere' in the second: +0.0000",
        "  without 'xnow' in the second: +0.0000",
    ]


def test_characters_are_left_out_where_nothing_is_spaced():
    assert try_pairs.shortened("如何付") == [("如", "何付"), ("何", "如付"), ("付", "如何")]
    assert try_pairs.shortened("a") == []
