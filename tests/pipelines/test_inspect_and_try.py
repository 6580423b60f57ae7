from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import inspect
from pipelines.trying import try_pairs
from tests.scored_pairs import scored_table, write_scores
from transforms.errors import UserError
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.text.token_ids import UNKNOWN_ID
from transforms.text_keys import sentence_keys


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


def test_a_parquet_file_shows_its_rows_and_columns(tmp_path: Path, capsys):
    pq.write_table(pa.table({"sentence1": ["a", "b"], "n": [1, 2]}), tmp_path / "pairs.parquet")
    found = inspect.run([str(tmp_path / "pairs.parquet")])
    assert found["rows"] == 2 and found["schema"] == {"sentence1": "string", "n": "int64"}
    assert "sentence1 string, n int64" in capsys.readouterr().out
    (tmp_path / "bad.parquet").write_text("no such thing")
    with pytest.raises(UserError, match=r"bad\.parquet cannot be read as Parquet"):
        inspect.run([str(tmp_path / "bad.parquet")])


def test_a_foreign_folder_is_reported(tmp_path: Path):
    with pytest.raises(UserError, match="was not written by twinbeam"):
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


def test_a_line_that_cannot_be_scored_ends_nothing(monkeypatch, capsys):
    class Picky(FakeBundle):
        def score(self, sentence1: np.ndarray, sentence2: np.ndarray) -> dict[str, np.ndarray]:
            if "!" in sentence1[0]:
                raise UserError("not this one")
            return super().score(sentence1, sentence2)

    monkeypatch.setattr("model.bundle.loading.load", lambda folder: Picky())
    monkeypatch.setattr(try_pairs, "import_tensorflow", lambda: None)
    lines = io.TextIOWrapper(io.BytesIO(b"a\ta\n!\tb\n\xff\xfe\tb\n \tb\nb\tb\n"), "utf-8")
    monkeypatch.setattr("sys.stdin", lines)

    assert try_pairs.run(["bundle"]) == 3
    printed = capsys.readouterr()
    assert [line.split()[1] for line in printed.out.splitlines()] == ["1.0000", "0.2500", "1.0000"]
    assert "twinbeam: not this one" in printed.err and "no tab" in printed.err


class LetterBundle(FakeBundle):
    """A sentence's vector: how many a, b and c; similarity: the cosine."""

    def __init__(self):
        super().__init__()
        self.manifest["fingerprint"] = "letters"
        self.encoded: list[str] = []

    def encode(self, sentences: np.ndarray) -> np.ndarray:
        self.encoded += sentences.tolist()
        return np.array([[text.count(c) for c in "abc"] for text in sentences], np.float32)

    def compare(self, u: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
        sizes = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        return {"similarity": (u * v).sum(axis=1) / sizes}


@pytest.mark.parametrize("stored", [False, True])
def test_the_nearest_known_sentences_are_shown(tmp_path: Path, monkeypatch, capsys, stored: bool):
    bundle = LetterBundle()
    monkeypatch.setattr("model.bundle.loading.load", lambda folder: bundle)
    monkeypatch.setattr(try_pairs, "import_tensorflow", lambda: None)
    pairs = {"sentence1": ["ab", "aab", None], "sentence2": ["c", "cca", "  "], "n": [1, 2, 3]}
    pq.write_table(pa.table(pairs), tmp_path / "known.parquet")
    flags = ["--known", str(tmp_path / "known.parquet")]
    if stored:  # "cca" is not in the store
        store = EmbeddingStore(str(tmp_path / "store"), "letters", 3).open()
        texts = ["ab", "aab", "c", "another"]
        store.add(sentence_keys(texts), bundle.encode(np.array(texts, object)))
        flags += ["--embedding_store", store.folder]
    bundle.encoded.clear()
    try_pairs.run(["bundle", "ab", "c", *flags])

    # cos(ab, aab) = 3 / √(2 · 5), cos(ab, cca) = 1 / √(2 · 5), cos(c, cca) = 2 / √5.
    nearest = {"aab": 0.9487, "c": 0.0} if stored else {"aab": 0.9487, "cca": 0.3162, "c": 0.0}
    second = {"ab": 0.0, "aab": 0.0} if stored else {"cca": 0.8944, "ab": 0.0, "aab": 0.0}
    expected = ["  nearest to the first:"] + [f"    {s:.4f}  {t}" for t, s in nearest.items()]
    expected += ["  nearest to the second:"] + [f"    {s:.4f}  {t}" for t, s in second.items()]
    assert capsys.readouterr().out.splitlines()[1:] == expected
    assert bundle.encoded == ["ab", "c"] if stored else len(bundle.encoded) == 6


def test_known_sentences_that_cannot_be_used_are_reported(tmp_path: Path, monkeypatch):
    bundle = LetterBundle()
    monkeypatch.setattr("model.bundle.loading.load", lambda folder: bundle)
    monkeypatch.setattr(try_pairs, "import_tensorflow", lambda: None)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "known.parquet")
    EmbeddingStore(str(tmp_path / "store"), "another", 3).open()
    known = ["--known", str(tmp_path / "known.parquet")]
    with pytest.raises(UserError, match="it has text"):
        try_pairs.run(["bundle", "a", "b", *known])
    with pytest.raises(UserError, match="with --known"):
        try_pairs.run(["bundle", "a", "b", "--embedding_store", str(tmp_path / "store")])
    pq.write_table(pa.table({"sentence": [f"a{n}" for n in range(6_000)]}), known[1])
    with pytest.raises(UserError, match="6,000 sentences, more than 5,000"):
        try_pairs.run(["bundle", "a", "b", *known])
    with pytest.raises(UserError, match="another bundle"):
        try_pairs.run(["bundle", "a", "b", *known, "--embedding_store", str(tmp_path / "store")])


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
