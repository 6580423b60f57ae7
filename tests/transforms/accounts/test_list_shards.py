"""Graphs list shards in a size that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from transforms.accounts import list_shards
from transforms.accounts.list_shards import ListShards, listing, read_part
from transforms.clustering.tables import ClusterShard
from transforms.errors import RunError
from transforms.input.partitions import Partition
from transforms.input.shards import Shard
from transforms.vector_blocks.make_blocks import FindShard


def shards(count: int) -> list[Shard]:
    partition = Partition("day", "2024-01-01", "date", True)
    return [
        Shard("in", "mark", f"{n}.parquet", n, n + 1, 7, "ns", (partition,)) for n in range(count)
    ]


@pytest.mark.parametrize(
    "kind",
    [
        lambda shard: shard,
        lambda shard: ClusterShard("rows", shard),
        lambda shard: FindShard("left", shard, "a.parquet", 3),
    ],
)
@pytest.mark.parametrize("count", [0, 3, 4, 25])
def test_all_come_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, kind: Callable
) -> None:
    monkeypatch.setattr(list_shards, "INLINE_SHARDS", 3)
    monkeypatch.setattr(list_shards, "PART_SHARDS", 10)
    given = [kind(shard) for shard in shards(count)]
    listed = listing(str(tmp_path), "new", given)
    assert len(list(tmp_path.iterdir())) == (0 if count <= 3 else -(-count // 10))
    with beam.Pipeline("FnApiRunner") as pipeline:
        assert_that(pipeline | ListShards(listed), equal_to(given))


def graph_bytes(folder: Path, count: int) -> int:
    pipeline = beam.Pipeline("FnApiRunner")
    _ = pipeline | ListShards(listing(str(folder), "new", shards(count)))
    return len(pipeline.to_runner_api().SerializeToString())


def test_the_graph_does_not_grow(tmp_path: Path) -> None:
    few, many = graph_bytes(tmp_path, 1_001), graph_bytes(tmp_path, 3_000)
    assert abs(many - few) < 100 and many < 50_000


def test_a_list_that_is_gone_says_who_has_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="another run has taken over the folder"):
        read_part(str(tmp_path / "none.json"), Shard)
