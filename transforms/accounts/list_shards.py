"""Shards as the source of a graph that stays small, however many there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam

from transforms.errors import RunError
from transforms.input.shards import Shard
from transforms.storage import files

PART_SHARDS = 1_000
INLINE_SHARDS = 10_000
_THREADS = 16


def write_parts(folder: str, label: str, shards: Sequence[Shard]) -> list[str]:
    """Writes shards to files, for a graph that would be too large with all of them in it.

    Returns:
        Paths for `read_part`.
    """
    parts = [shards[first : first + PART_SHARDS] for first in range(0, len(shards), PART_SHARDS)]
    paths = [files.join(folder, f"shards-{label}-{place:05d}.json") for place in range(len(parts))]

    def write(path: str, part: Sequence[Shard]) -> None:
        content = json.dumps([shard.to_json() for shard in part], ensure_ascii=False)
        files.write_bytes(path, content.encode())

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        list(pool.map(write, paths, parts))
    return paths


def read_part(path: str) -> list[Shard]:
    """The shards of a file that `write_parts` wrote.

    Raises:
        RunError: it is gone, as another run has taken the folder.
    """
    try:
        return [Shard(**shard) for shard in files.read_json(path)]
    except FileNotFoundError:
        raise RunError(f"{path} is gone: another run has taken over the folder") from None


class ListShards(beam.PTransform):
    """Nothing → shards, spread over the workers.

    The graph holds few shards itself: services refuse one of tens of megabytes (Dataflow from
    10 MB on), and a shard takes some 300 bytes of it.
    """

    def __init__(self, folder: str, label: str, shards: Sequence[Shard]):
        """Takes the shards, and where to write them, under what label, if they are many."""
        super().__init__()
        self._given = folder, label, shards

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        folder, label, shards = self._given
        if len(shards) <= INLINE_SHARDS:
            listed = begin | "List shards" >> beam.Create(list(shards))
        else:
            listed = (
                begin
                | "List parts" >> beam.Create(write_parts(folder, label, shards))
                | "Spread parts" >> beam.Reshuffle()
                | "Read parts" >> beam.FlatMap(read_part)
            )
        return listed | "Spread shards" >> beam.Reshuffle()
