"""The tasks that find components: rounds of stars over buckets of nodes, until nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from transforms.clustering import stars
from transforms.clustering.graph_tables import as_array, write_edges
from transforms.errors import RunError
from transforms.storage.exchange import Exchange

FIRST, ONLY, NO_EDGES = "stars-0", "stars-at-once", "no edges"
ROUNDS = 24  # a path of 300,000 nodes, the slowest graph there is, needs 16
_WORD = 1 << 64


@dataclass(frozen=True)
class TaskDone:
    """What a task of a step left.

    Attributes:
        step: the step whose edges are the newest.
        task: the task; of `step`, unless that ended before.
        signature: of the stars it made; None of a step that makes none.
        last: the signature of all stars one round before.
        ended: whether the stars of `step` are those of the components.
    """

    step: str
    task: int | str
    signature: int | None = None
    last: int | None = None
    ended: bool = False


@dataclass(frozen=True)
class Before:
    """What the tasks of the step before left together; `tasks` are those that have edges."""

    step: str
    tasks: tuple[int | str, ...]
    last: int | None
    ended: bool


def plan_steps(buckets: int) -> list[str]:
    """The names of the steps after the first; where all edges are in one bucket, one ends it."""
    if buckets == 1:
        return [ONLY]
    return [f"{kind}-{turn}" for turn in range(1, ROUNDS + 1) for kind in ("large", "stars")]


def gather(parts: Sequence[TaskDone], buckets: int) -> Before:
    """What all tasks of a step left; tables other than pairs have no edges."""
    parts = [part for part in parts if part.step != NO_EDGES]
    first = parts[0]
    made = [part.signature for part in parts if part.signature is not None]
    signature = sum(made) % _WORD if made else None
    ended = first.ended or (signature is not None and signature == first.last)
    named = tuple(sorted(str(part.task) for part in parts)) if first.step == FIRST else None
    tasks: tuple[int | str, ...] = named if named is not None else tuple(range(buckets))
    return Before(first.step, tasks, first.last if signature is None else signature, ended)


def run_step(step: str, bucket: int, before: Before, exchange: Exchange) -> TaskDone:
    """One bucket's part of a step; nothing where the stars are found already."""
    if before.ended:
        return TaskDone(before.step, bucket, last=before.last, ended=True)
    left = TaskDone(step, bucket, last=before.last, ended=step == ONLY)
    notes = exchange.done(step, bucket)
    if notes is None:
        edges = as_array(exchange.read(before.step, before.tasks, bucket))
        if step.startswith("large"):
            found = stars.downward(stars.large_star(edges))
            table = pa.table({"first": found[:, 0], "second": found[:, 1]})
            notes = exchange.write(step, bucket, table, exchange.buckets_of(found[:, 0]))
        else:
            found = stars.as_stars(edges) if step == ONLY else stars.small_star(edges)
            notes = write_edges(exchange, step, bucket, found)
    return replace(left, signature=notes.get("signature"))


def converged(before: Before) -> Before:
    """Checks that the last step left stars.

    Raises:
        RunError: it did not.
    """
    if not before.ended:
        raise RunError(f"components are not found after {ROUNDS} rounds; the graph is too deep")
    return before
