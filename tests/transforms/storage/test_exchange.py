"""Tables go from step to step by bucket, and every row arrives once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.accounts.claims import take
from transforms.errors import RunError
from transforms.storage.exchange import Exchange


def table(first: int, rows: int) -> pa.Table:
    return pa.table(
        {"node": pa.array(range(first, first + rows), pa.uint64()), "text": ["é"] * rows}
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 5), st.randoms())
def test_each_row_is_read_once_from_its_bucket_in_the_order_of_the_tasks(sizes, buckets, random):
    with tempfile.TemporaryDirectory() as folder:
        exchange = Exchange(folder, buckets)
        wanted: dict[int, list[int]] = {}
        for task, rows in enumerate(sizes):
            made = table(100 * task, rows)
            places = [random.randrange(buckets) for _ in range(rows)]
            exchange.write("step", task, made, np.array(places, np.int64), {"rows": rows})
            for node, place in zip(made["node"].to_pylist(), places, strict=True):
                wanted.setdefault(place, []).append(node)
        for bucket in range(buckets):
            found = exchange.read("step", range(len(sizes)), bucket)
            assert (None if found is None else found["node"].to_pylist()) == wanted.get(bucket)
            assert found is None or set(found["text"].to_pylist()) == {"é"}
        assert [exchange.done("step", task) for task in range(len(sizes))] == [
            {"rows": rows} for rows in sizes
        ]


def test_a_task_that_is_not_done_has_no_notes_and_notes_need_no_rows(tmp_path: Path):
    exchange = Exchange(f"{tmp_path}/deep/er", 3)
    assert exchange.done("step", 1) is None
    assert exchange.note("step", 1, {"ü": [1, None]}) == {"ü": [1, None]}
    assert exchange.done("step", 1) == {"ü": [1, None]} and exchange.done("step", 2) is None
    assert exchange.write("step", "all", table(0, 2), np.array([2, 2])) == {}
    assert exchange.done("step", "all") == {}
    assert [exchange.read("step", ["all", 1], bucket) for bucket in (0, 1)] == [None, None]
    assert {*os.listdir(tmp_path / "deep" / "er")} - {"_tmp"} == {
        "step-1.parquet",
        "step-all.parquet",
    }


def test_a_bucket_is_one_row_group_so_that_no_other_is_read(tmp_path: Path):
    exchange = Exchange(str(tmp_path), 4)
    exchange.write("step", 0, table(0, 10), np.array([3, 1] * 5))
    parquet = pq.ParquetFile(exchange.path("step", 0))

    assert parquet.num_row_groups == 2 and exchange.path("step", 0) == f"{tmp_path}/step-0.parquet"
    assert [parquet.read_row_group(k)["node"].to_pylist() for k in (0, 1)] == [
        [1, 3, 5, 7, 9],
        [0, 2, 4, 6, 8],
    ]


def test_nodes_are_spread_over_all_buckets():
    nodes = np.arange(40_000, dtype=np.uint64) * np.uint64(4)  # as ids come: not spread at all
    found = np.bincount(Exchange("x", 4).buckets_of(nodes).astype(np.int64), minlength=4)

    assert len(found) == 4 and (abs(found - 10_000) < 500).all()


def test_a_run_that_another_has_superseded_hands_nothing_on(tmp_path: Path):
    first = take(str(tmp_path))
    exchange = Exchange(f"{tmp_path}/_shards/steps", 2, first)
    exchange.write("step", 0, table(0, 3), np.array([0, 1, 0]))
    before = sorted(path for path in tmp_path.rglob("*.parquet"))
    second = Exchange(exchange.folder, 2, take(str(tmp_path)))
    with pytest.raises(RunError, match="taken over by another run"):
        exchange.write("step", 0, table(7, 3), np.array([0, 1, 0]))
    with pytest.raises(RunError, match="taken over by another run"):
        exchange.note("step", 1, {})
    second.write("step", 2, table(9, 1), np.array([1]))

    assert before == [tmp_path / "_shards/steps/step-0.parquet"]
    assert exchange.read("step", [0], 0)["node"].to_pylist() == [0, 2]
    assert exchange.read("step", [0, 2], 1)["node"].to_pylist() == [1, 9]
    assert exchange.done("step", 1) is None


def test_an_attempt_that_is_late_adds_nothing_to_a_committed_folder(tmp_path: Path):
    claim = take(str(tmp_path))
    claim.close()
    with pytest.raises(RunError, match="committed by this run already"):
        Exchange(f"{tmp_path}/_shards/steps", 1, claim).note("step", 0, {})
    assert not list(tmp_path.rglob("step-0.parquet"))
