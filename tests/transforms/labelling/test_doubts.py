from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines import doubts
from tests.scoring_kit import write
from transforms.errors import UserError
from transforms.labelling.doubts import doubt_labels, triangles
from transforms.labelling.labelled_pairs import LabelledPairs


def groups(seed: int = 3, rows: int = 1_200) -> tuple[pd.DataFrame, np.ndarray]:
    """Pairs of 30 meanings with 8 wordings each, labelled by meaning, 5 % of the labels flipped."""
    random = np.random.default_rng(seed)
    topic = random.integers(0, 30, rows)
    other = np.where(random.random(rows) < 0.5, topic, random.integers(0, 30, rows))
    word = random.integers(0, 8, (2, rows))
    label = (topic == other).astype(np.int64)
    flipped = random.random(rows) < 0.05
    sides = [
        [
            f"about subject {chr(97 + t)}{t * 37 % 11} in wording {w}"
            for t, w in zip(topic_name, ws, strict=True)
        ]
        for topic_name, ws in ((topic, word[0]), (other, word[1]))
    ]
    table = pd.DataFrame({"sentence1": sides[0], "sentence2": sides[1], "label": label ^ flipped})
    return table.assign(id=[f"r{n}" for n in range(rows)]), flipped


def topic_name(*rows: tuple[str, str, int]) -> LabelledPairs:
    one, other, label = zip(*rows, strict=True)
    return LabelledPairs.from_columns(list(one), list(other), np.array(label))


def test_flipped_labels_come_first():
    table, flipped = groups()
    pairs = LabelledPairs.from_columns(
        table.sentence1.tolist(), table.sentence2.tolist(), table.label.to_numpy()
    )
    found = doubt_labels(pairs)
    first = np.argsort(-found["doubt"].to_numpy(), kind="stable")[: flipped.sum()]

    assert flipped[first].mean() > 0.6  # by chance: 0.05


def test_the_same_again():
    table, _ = groups(rows=150)
    sides = (table[name].tolist() for name in ("sentence1", "sentence2"))
    pairs = LabelledPairs.from_columns(*sides, table["label"].to_numpy())

    assert doubt_labels(pairs).equals(doubt_labels(pairs))


def test_triangles_by_hand():
    pairs = topic_name(("a", "b", 1), ("c", "b", 1), ("c", "a", 0), ("d", "a", 0), ("e", "e", 1))

    assert triangles(pairs).tolist() == [[1, 0, 2]]
    found = doubt_labels(pairs)
    # b speaks against c ≁ a; c against a ~ b, and a against c ~ b; nothing speaks against d ≁ a
    assert found["contradictions"].tolist() == [1, 1, 1, 0, 0]
    assert len(triangles(pairs, most=0)) <= 1


def test_equal_sentences_labelled_apart():
    pairs = topic_name(("a", "b", 1), ("b", "a", 0), ("c", "c", 0), ("c", "d", 1), ("d", "d", 1))

    assert doubt_labels(pairs)["labelled_apart"].tolist() == [True, True, True, False, False]


def test_the_command(tmp_path: Path, capsys):
    table, flipped = groups(rows=300)
    table.loc[5, "sentence1"] = "<b>bold</b>"
    table.loc[7, "label"] = 9
    table.to_parquet(tmp_path / "in.parquet")
    flags = ["--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out")]
    found = doubts.run([*flags, "--id_column", "id", "--show", "1200"])
    ranked = pq.read_table(tmp_path / "out/doubts.parquet").to_pandas()
    page = (tmp_path / "out/doubts.html").read_text()

    assert found["rows"] == 299 and found["rows_skipped"] == {"unusable": 1}
    assert ranked["doubt"].is_monotonic_decreasing
    assert set(ranked["row"]) == set(table["id"]) - {"r7"}
    assert set(ranked["row"][:20]) & {f"r{n}" for n in np.flatnonzero(flipped)}
    assert "&lt;b&gt;bold" in page and "<b>" not in page
    ids = pq.read_table(tmp_path / "out/triangles.parquet").to_pandas()
    assert set(ids["but_not_same"]) <= set(table["id"][table["label"] == 0])
    doubts.run([*flags, "--id_column", "id", "--show", "1200"])
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds another result"):
        doubts.run(flags)
    doubts.run([*flags, "--overwrite"])
    rows = pq.read_table(tmp_path / "out/doubts.parquet")["row"].to_pylist()
    assert sorted(rows, key=lambda row: int(row.rpartition(":")[2]))[1].endswith("in.parquet:1")


def test_one_label_alone_cannot_be_doubted(tmp_path: Path):
    table, _ = groups(rows=20)
    table.assign(label=1).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(UserError, match="all labels are the same"):
        doubts.run(["--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out")])


ROWS = 24
BESIDE = {
    "id": pa.array(range(ROWS)),
    "sentence1": [f"how do I pay {n % 5}" for n in range(ROWS)],
    "sentence2": [f"how can I pay {n % 3}" for n in range(ROWS)],
    "label": [n % 2 for n in range(ROWS)],
    "similarity": [n / ROWS for n in range(ROWS)],
}


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("id", [[n] for n in range(ROWS)], "column 'id' is list.*--id_column"),
        ("id", [{"a": n} for n in range(ROWS)], "column 'id' is struct.*--id_column"),
        ("similarity", ["0.5"] * ROWS, "column 'similarity' is string.*--similarity_column"),
        ("similarity", [[0.5]] * ROWS, "column 'similarity' is list.*--similarity_column"),
        ("similarity", None, "no column 'similarity'.*--similarity_column"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused_before_the_work(
    tmp_path: Path, column: str, values: list | None, message: str
):
    columns = {name: BESIDE[name] for name in BESIDE if name != column}
    write(tmp_path / "in.parquet", pa.table(columns | ({column: values} if values else {})))
    flags = ["--id_column", "id", "--similarity_column", "similarity"]
    with pytest.raises(UserError, match=message):
        doubts.run(["--input", f"{tmp_path}/in.parquet", "--output", f"{tmp_path}/out", *flags])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (pa.array([b"\xff%d" % n for n in range(ROWS)]), {"(not UTF-8)"}),
        (pa.array([None] * ROWS, pa.int64()), {"(null)"}),
        (
            pa.array([f"é{n}" for n in range(ROWS)], pa.string_view()),
            {f"é{n}" for n in range(ROWS)},
        ),
        (pa.array([n == 0 for n in range(ROWS)]), {"true", "false"}),
    ],
)
def test_ids_of_any_kind_name_the_rows(tmp_path: Path, ids: pa.Array, shown: set[str]):
    numbers = pa.array([float("nan"), float("inf"), None, *BESIDE["similarity"][3:]])
    write(tmp_path / "in.parquet", pa.table(BESIDE | {"id": ids, "similarity": numbers}))
    flags = ["--id_column", "id", "--similarity_column", "similarity"]
    doubts.run(["--input", f"{tmp_path}/in.parquet", "--output", f"{tmp_path}/out", *flags])
    found = pq.read_table(tmp_path / "out" / "doubts.parquet")

    assert found.num_rows == ROWS
    assert set(found["row"].to_pylist()) == shown
    assert not pc.any(pc.is_nan(found["doubt"])).as_py()
