"""Whatever the table, its row groups, the shards and the moment of a fault: no row is lost.

Oracle: the plain Python rows that the table was made from.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scoring_kit import EqualScorer
from transforms.accounts import commit, output_folder, shard_account
from transforms.input.shards import plan
from transforms.pairs import PairColumns
from transforms.scoring.score_shards import ScoreSettings, score_shard

SENTENCE = st.sampled_from(["a", "b", "字", " ", "", "long sentence", None])
ROWS = st.lists(st.tuples(st.floats(width=32), SENTENCE, SENTENCE), max_size=60)
TYPES = st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.string_view()])
MAX_CHARS = 5


def usable(sentence: str | None) -> bool:
    return bool(sentence and sentence.strip()) and len(sentence) <= MAX_CHARS


class Killed(BaseException):
    """Stands for a kill: nothing in the way catches it."""


class DyingScorer(EqualScorer):
    """Dies at its nth call."""

    def __init__(self, calls: int):
        self.left = calls

    def score(self, side1, side2):
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().score(side1, side2)


def run_once(source: str, output: str, shard_rows: int, scorer) -> dict | None:
    """A run without Beam; None where it died."""
    planned = plan([source], PairColumns(), shard_rows=shard_rows)
    work = output_folder.begin(output, planned.shards, "key")
    how = ScoreSettings(work.claim, "key", max_chars=MAX_CHARS)
    try:
        fresh = [score_shard(shard, scorer, how) for shard in work.todo]
    except Killed:
        return None
    accounts = [*(shard_account.read_account(output, shard.name) for shard in work.done), *fresh]
    names = [shard.name for shard in planned.shards]
    return commit.commit(work.claim, accounts, expected=names, header={}, gates=commit.Gates(1))


def rows_of(output: Path, pattern: str) -> list[tuple]:
    """All rows of files in order of their names; floats as their bits."""
    tables = [pq.read_table(path) for path in sorted(output.glob(pattern))]
    return [row for table in tables for row in as_rows(table)]


def as_rows(table: pa.Table) -> list[tuple]:
    bits = pa.array(table["x"].to_numpy().view("uint32")).to_pylist()
    sides = [table[name].cast(pa.large_string()).to_pylist() for name in ("sentence1", "sentence2")]
    return list(zip(bits, *sides, strict=True))


@settings(max_examples=60)
@given(
    rows=ROWS,
    kind=TYPES,
    group=st.integers(1, 20),
    shard_rows=st.integers(1, 30),
    deaths=st.lists(st.integers(0, 4), max_size=3),
)
def test_rows_in_are_rows_out_in_their_order_bit_by_bit(rows, kind, group, shard_rows, deaths):
    x, left, right = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table(
        {
            "x": pa.array(x, pa.float32()),
            "sentence1": pa.array(left, pa.string()).cast(kind),
            "sentence2": pa.array(right, pa.string()).cast(kind),
        }
    )
    came = as_rows(table)
    good = [usable(a) and usable(b) for a, b in zip(left, right, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        source, output = f"{folder}/in.parquet", f"{folder}/out"
        pq.write_table(table, source, row_group_size=group)
        for calls in deaths:
            run_once(source, output, shard_rows, DyingScorer(calls))
        manifest = run_once(source, output, shard_rows, EqualScorer())
        assert rows_of(Path(output), "*.parquet") == [
            r for r, ok in zip(came, good, strict=True) if ok
        ]
        assert rows_of(Path(output), "_rejects/*") == [
            r for r, ok in zip(came, good, strict=True) if not ok
        ]
        assert manifest["rows_in"] == len(rows)
        assert manifest["rows_scored"] == sum(good)
        assert sum(manifest["rejected_by_reason"].values()) == len(rows) - sum(good)
        assert not (Path(output) / "_tmp").exists()
        for path in Path(output).glob("*.parquet"):
            assert (
                pq.read_schema(path).field("sentence1").type == pq.read_schema(source).field(1).type
            )
        planned = plan([source], PairColumns(), shard_rows=shard_rows)
        assert output_folder.open_output(output, planned.shards, "key", overwrite=False).committed
