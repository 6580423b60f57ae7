from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo import pairs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "pairs"
    pairs.make(folder)
    return folder


def read(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.iterdir()))


def usable(table: pa.Table) -> list[dict]:
    return [
        row
        for row in table.to_pylist()
        if (row["sentence1"] or "").strip() and (row["sentence2"] or "").strip()
    ]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made: Path, tmp_path: Path):
    pairs.make(tmp_path / "again")
    pairs.make(tmp_path / "other", seed=1)
    files = [path.relative_to(made) for path in sorted(made.rglob("*.parquet"))]

    assert [(made / file).read_bytes() for file in files] == [
        (tmp_path / "again" / file).read_bytes() for file in files
    ]
    assert (made / files[0]).read_bytes() != (tmp_path / "other" / files[0]).read_bytes()


def test_files_rows_row_groups_and_types(made: Path):
    labelled, to_score = (
        sorted((made / "labelled").iterdir()),
        sorted((made / "to-score").iterdir()),
    )
    rows = [
        [pq.ParquetFile(path).metadata.num_rows for path in part] for part in (labelled, to_score)
    ]

    assert rows == [[4_000] * 4, [2_000] * 2]
    assert [pq.ParquetFile(path).num_row_groups for path in (*labelled, *to_score)] == [4] * 4 + [
        2
    ] * 2
    assert all(pq.read_schema(path).equals(pairs.SCHEMA) for path in (*labelled, *to_score))
    assert read(made / "labelled")["id"].to_pylist() == list(range(16_000))
    assert read(made / "to-score")["id"].to_pylist() == list(range(16_000, 20_000))


def test_rows_that_must_be_rejected(made: Path):
    labelled, to_score = read(made / "labelled"), read(made / "to-score")

    # One row in 500 has no usable sentence: 16,000 / 500 = 32 and 4,000 / 500 = 8.
    assert labelled.num_rows - len(usable(labelled)) == 32
    assert to_score.num_rows - len(usable(to_score)) == 8
    # One labelled row in 2,000 has no label: 16,000 / 2,000 = 8.
    assert (labelled["label"].null_count, to_score["label"].null_count) == (8, 0)
    unusable = set(pairs.UNUSABLE)
    for side in ("sentence1", "sentence2"):
        assert unusable & set(labelled[side].to_pylist()) == unusable


def test_half_of_the_pairs_ask_the_same(made: Path):
    labels = Counter(read(made / "labelled")["label"].to_pylist())

    assert labels[1] / 16_000 == pytest.approx(0.5, abs=0.02)
    assert set(labels) == {0, 1, None}


def test_a_label_is_one_where_both_sentences_have_the_same_meaning():
    known = pairs.meanings(random.Random(5))
    meaning = {sentence: place for place, one in enumerate(known) for sentence in one.sentences}

    for sentence1, sentence2, label in pairs.pairs(random.Random(5), 2_000):
        assert label == (meaning[sentence1] == meaning[sentence2])
        assert sentence1 != sentence2


def test_no_sentence_has_two_meanings():
    known = pairs.meanings(random.Random(pairs.SEED))
    counts = Counter(sentence for one in known for sentence in one.sentences)

    assert max(counts.values()) == 1


def test_sentences_come_again_and_hold_both_languages(made: Path):
    rows = usable(read(made / "labelled"))
    sentences = Counter(row[side] for row in rows for side in ("sentence1", "sentence2"))
    chinese = sum(any("\u4e00" <= char <= "\u9fff" for char in sentence) for sentence in sentences)

    assert 5 < 2 * len(rows) / len(sentences) < 50
    assert 0.3 < chinese / len(sentences) < 0.7
    assert max(sentences.values()) > 100
    assert "{" not in "".join(sentences)


def test_different_meanings_share_words(made: Path):
    def shared(row: dict) -> float:
        first, second = set(row["sentence1"]), set(row["sentence2"])
        return len(first & second) / len(first | second)

    rows = usable(read(made / "labelled"))
    overlap = sorted(shared(row) for row in rows if row["label"] == 0)

    # A quarter of the different pairs share more than a third of their characters.
    assert overlap[len(overlap) * 3 // 4] > 1 / 3
