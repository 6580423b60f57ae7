"""The inner loops that NumPy has no fast form of.

They free the GIL, so that threads have a core each, and they find in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

LANES = 64  # partners that are worked on side by side: four registers of AVX-512
STEP = 8  # dimensions between two looks at whether any of them is still near enough


def compiled(function: Callable) -> Any:
    """The function as machine code, kept beside its source for the next process where it can be."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder to keep it in
        return njit(nogil=True)(function)


@compiled
def scan(tile: np.ndarray, limits: np.ndarray, diagonal: int, out: np.ndarray) -> int:
    """Finds where a tile reaches the limits of its rows.

    Args:
        tile: float32 [n, m].
        limits: of each row, float32 [n].
        diagonal: only columns greater than row + diagonal are looked at.
        out: takes row and column of each place found, row by row, int32 [room, 2].

    Returns:
        How many there are; what is more than the room was not kept.
    """
    rows, columns = tile.shape
    found = 0
    for row in range(rows):
        limit = limits[row]
        for begin in range(max(0, row + diagonal + 1), columns, LANES):
            end = min(begin + LANES, columns)
            # First whether a stretch reaches it at all, without a branch; the slow loop is rare.
            reached = 0
            for column in range(begin, end):
                reached += tile[row, column] >= limit
            if reached:
                for column in range(begin, end):
                    if tile[row, column] >= limit:
                        if found < len(out):
                            out[found, 0] = row
                            out[found, 1] = column
                        found += 1
    return found


@compiled
def near_manhattan(
    u: np.ndarray, lanes: np.ndarray, radius: float, diagonal: int, out: np.ndarray
) -> int:
    """Finds the pairs within a Manhattan distance; a sum is left as soon as it is too great.

    Args:
        u: float32 [n, d].
        lanes: the partners, float32 [⌈m / LANES⌉, d, LANES]; see `as_lanes`.
        radius: the greatest distance.
        diagonal: only partners whose number is greater than row + diagonal are looked at.
        out: takes row and partner of each pair found, int32 [room, 2].

    Returns:
        How many there are; what is more than the room was not kept.
    """
    rows, dimensions = u.shape
    sums = np.empty(LANES, np.float32)
    limit = np.float32(radius)
    found = 0
    for block in range(len(lanes)):
        first = block * LANES
        # Beyond that row no partner of this block is past the diagonal.
        for row in range(min(rows, first + LANES - 1 - diagonal)):
            sums[:] = 0
            alive = 1
            for begin in range(0, dimensions, STEP):
                for place in range(begin, min(begin + STEP, dimensions)):
                    value = u[row, place]
                    for lane in range(LANES):
                        sums[lane] += abs(value - lanes[block, place, lane])
                alive = 0
                for lane in range(LANES):
                    alive += sums[lane] <= limit
                if not alive:
                    break
            if alive:
                for lane in range(LANES):
                    if sums[lane] <= limit and first + lane > row + diagonal:
                        if found < len(out):
                            out[found, 0] = row
                            out[found, 1] = first + lane
                        found += 1
    return found


@compiled
def greatest(tile: np.ndarray, out: np.ndarray) -> None:
    """Finds the places of the greatest values of each row, in order; of equal ones the first.

    Most of a row is passed over, LANES values at a time, without a sort.

    Args:
        tile: float32 [n, m]; a row that has less than v finite values gives the first places.
        out: takes the places, int32 [n, v], v ≤ m.
    """
    rows, columns = tile.shape
    wanted = out.shape[1]
    best = np.empty(wanted, np.float32)
    for row in range(rows):
        best[:] = -np.inf
        out[row] = np.arange(wanted)
        taken = 0
        for begin in range(0, columns, LANES):
            end = min(begin + LANES, columns)
            # Whether any value of this stretch is among the best so far: a loop without branches,
            # which compiles to vector instructions. Few stretches need the second loop.
            limit = best[wanted - 1]
            reached = 0
            for column in range(begin, end):
                reached += tile[row, column] > limit
            if reached:
                for column in range(begin, end):
                    value = tile[row, column]
                    if value > best[wanted - 1]:
                        place = wanted - 1
                        while place > 0 and value > best[place - 1]:
                            best[place] = best[place - 1]
                            out[row, place] = out[row, place - 1]
                            place -= 1
                        best[place] = value
                        out[row, place] = column
                        taken += 1
        if taken < wanted:  # or a place could be there twice
            out[row] = np.arange(wanted)


def as_lanes(vectors: np.ndarray) -> np.ndarray:
    """Vectors [m, d] → [⌈m / LANES⌉, d, LANES]; what fills the last block is near nothing."""
    count, dimensions = vectors.shape
    filled = np.full((-(-count // LANES) * LANES, dimensions), np.nan, np.float32)
    filled[:count] = vectors
    return np.ascontiguousarray(filled.reshape(-1, LANES, dimensions).transpose(0, 2, 1))


@compiled
def manhattan_distances(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vectors [n, d] and [m, d], float64 → their distances [n, m]."""
    out = np.empty((len(u), len(v)))
    for row in range(len(u)):
        for column in range(len(v)):
            total = 0.0
            for place in range(u.shape[1]):
                total += abs(u[row, place] - v[column, place])
            out[row, column] = total
    return out
