"""Shards as the source of a graph that stays small, however many there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import apache_beam as beam

from transforms.errors import RunError
from transforms.storage import files
from transforms.threads import in_threads

PART_SHARDS = 1_000
INLINE_SHARDS = 1_000  # a graph may list them three times, at 150 to 300 bytes a shard
_THREADS = 16


class Listed(Protocol):
    """A shard, or what has one."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        ...

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """From those of `to_json`."""
        ...


@dataclass(frozen=True)
class ShardFiles:
    """Shards that were written to files of `PART_SHARDS` each.

    Attributes:
        kind: their class.
        folder: where the files are.
        label: what their names begin with.
        parts: how many there are.
    """

    kind: type[Listed]
    folder: str
    label: str
    parts: int

    def paths(self) -> list[str]:
        """Of all files, for `read_part`."""
        names = (f"shards-{self.label}-{place:05d}.json" for place in range(self.parts))
        return [files.join(self.folder, name) for name in names]


Listing = tuple[Listed, ...] | ShardFiles


def listing(folder: str, label: str, shards: Sequence[Listed]) -> Listing:
    """Shards for graphs: themselves where they are few, else files that workers read them from.

    Args:
        folder: where to write; all workers can read there, and it stays until the run ends.
        label: what distinguishes these shards from others in the folder.
        shards: any number.
    """
    if len(shards) <= INLINE_SHARDS:
        return tuple(shards)
    parts = [shards[first : first + PART_SHARDS] for first in range(0, len(shards), PART_SHARDS)]
    written = ShardFiles(type(shards[0]), folder, label, len(parts))

    def write(part: tuple[str, Sequence[Listed]]) -> None:
        content = json.dumps([shard.to_json() for shard in part[1]], ensure_ascii=False)
        files.write_bytes(part[0], content.encode())

    for _ in in_threads(write, zip(written.paths(), parts, strict=True), _THREADS):
        pass
    return written


def read_part(path: str, kind: type[Listed]) -> list[Listed]:
    """The shards of a file that `listing` wrote.

    Raises:
        RunError: it is gone, as another run has taken the folder.
    """
    try:
        return [kind.from_json(shard) for shard in files.read_json(path)]
    except FileNotFoundError:
        raise RunError(f"{path} is gone: another run has taken over the folder") from None


@dataclass
class ListShards(beam.PTransform):
    """Nothing → shards, spread over the workers.

    The graph holds few shards itself, and its size does not depend on how many there are:
    Dataflow refuses one of more than 10 MB.
    """

    listing: Listing

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        if isinstance(self.listing, ShardFiles):
            shards = (
                begin
                | "List parts" >> beam.Create([self.listing])
                | "Name parts" >> beam.FlatMap(ShardFiles.paths)
                | "Spread parts" >> beam.Reshuffle()
                | "Read parts" >> beam.FlatMap(read_part, self.listing.kind)
            )
        else:
            shards = begin | "List shards" >> beam.Create(list(self.listing))
        return shards | "Spread shards" >> beam.Reshuffle()
