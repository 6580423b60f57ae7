"""No graph grows with the number of shards: Dataflow refuses one of more than 10 MB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import shard_graphs
from transforms.input.shards import Shard


@pytest.mark.parametrize(
    "graph_bytes",
    [shard_graphs.score_graph, shard_graphs.evaluate_graph, shard_graphs.preprocess_graph],
)
def test_twice_the_shards_make_the_same_graph(
    tmp_path: Path, graph_bytes: Callable[[list[Shard], str], int]
) -> None:
    few, many = (
        graph_bytes(shard_graphs.made_up(n), str(tmp_path / str(n))) for n in (11_000, 22_000)
    )
    assert abs(many - few) < 5_000
    assert many < 1_500_000
