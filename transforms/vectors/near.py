"""Finds all pairs of vectors within a distance, by tiles: none missing, none twice.

What is found is a superset, as small as the rounding of float32 lets it be: whoever uses it
compares the few pairs found once more, by the function that decides. So a pair is never lost
to the rounding of a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

Distance = Literal["cosine", "euclidean", "manhattan"]
ROWS = 1_024  # a tile of 1,024 × 2,048 floats stays in the cache of a core
COLUMNS = 2_048
ROOM = 1 << 16


@dataclass(frozen=True)
class Reach:
    """How near two vectors have to be.

    Attributes:
        distance: cosine (1 − cosine, 0…2; of a zero vector it is 1), euclidean or manhattan.
        radius: the greatest distance; infinity for all pairs.
        proposes: whether pairs within the radius are all that is compared, because the similarity
            is not a function of the distance; else the comparison alone says what is near enough.
    """

    distance: Distance
    radius: float
    proposes: bool = False


@dataclass(frozen=True)
class Prepared:
    """Vectors as tiles take them: a pair is near where `left · rightᵀ ≥ limits`.

    For the Manhattan distance `left` are the vectors, `right` is empty.
    """

    left: np.ndarray
    right: np.ndarray
    norms: np.ndarray


def prepare(vectors: np.ndarray, distance: Distance) -> Prepared:
    """Vectors [n, d] → what their products are made of; cosines of unit vectors."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if distance == "manhattan":
        return Prepared(vectors, vectors[:0], np.zeros(0, np.float32))
    if distance == "cosine":
        unit = unit_vectors(vectors)
        return Prepared(unit, unit, np.zeros(len(unit), np.float32))
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    ones = np.ones((len(vectors), 1), np.float32)
    right = np.hstack([vectors, (-squares / 2).astype(np.float32)[:, None]])
    return Prepared(np.hstack([vectors, ones]), right, squares)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors [n, d] of length 1, float32; a zero vector stays one."""
    unit = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), ROWS):  # what is wide for a while stays in the cache
        wide = vectors[start : start + ROWS].astype(np.float64)
        squares = np.einsum("nd,nd->n", wide, wide)
        if not np.isfinite(squares).all():
            wide[~np.isfinite(wide)] = np.nan
        lengths = np.sqrt(squares)
        wide /= np.where((lengths > 0) & np.isfinite(lengths), lengths, 1)[:, None]
        unit[start : start + ROWS] = wide
    return unit


def distances_of(u: np.ndarray, v: np.ndarray, distance: Distance) -> np.ndarray:
    """Distances of rows [n, d] of `u` from the same rows of `v`, float32 [n].

    They are summed in float64, so that the order of a sum cannot be seen in them.
    """
    one, two = as_unit(u, distance).astype(np.float64), as_unit(v, distance).astype(np.float64)
    if distance == "cosine":
        return (1 - np.einsum("nd,nd->n", one, two)).astype(np.float32)
    apart = one - two
    if distance == "manhattan":
        return np.abs(apart).sum(axis=1).astype(np.float32)
    return np.sqrt(np.einsum("nd,nd->n", apart, apart)).astype(np.float32)


def as_unit(vectors: np.ndarray, distance: Distance) -> np.ndarray:
    """Vectors [n, d] as the distance sees them: for cosines of length 1."""
    return unit_vectors(vectors) if distance == "cosine" else vectors


def rounding(dimensions: int) -> float:
    """By how much of Σ|uᵢvᵢ| a float32 sum of `dimensions` products may be off, in any order.

    γₙ = n u / (1 − n u) with u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms,
    2002, section 3.1), doubled: the function that decides rounds as well.
    """
    steps = (dimensions + 8) * 2.0**-24
    return 2 * steps / (1 - steps)


def limits(left: Prepared, right: Prepared, reach: Reach) -> np.ndarray:
    """What a product has to reach in each row of `left`, float32 [n]; see `Prepared`."""
    slack = rounding(left.left.shape[1])
    if reach.distance == "cosine":
        least = np.full(len(left.left), 1 - reach.radius - slack)
    else:  # |u − v|² ≤ r²  ⇔  u·v − |v|²/2 ≥ |u|²/2 − r²/2
        norms = np.concatenate([left.norms, right.norms])
        greatest = norms.max(initial=0.0, where=np.isfinite(norms))  # the others are near nothing
        wider = reach.radius * (1 + slack)
        least = left.norms / 2 - wider * wider / 2 - 2 * slack * greatest
    return np.nextafter(least.astype(np.float32), np.float32(-np.inf))


def near_pairs(
    u: np.ndarray, v: np.ndarray | None, reach: Reach, *, threads: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of rows that are near, strip by strip of `u`.

    Args:
        u: vectors float32 [n, d].
        v: vectors float32 [m, d]; None for the pairs of rows within `u`, each once (i < j).
        reach: how near.
        threads: strips that are worked on at once.

    Yields:
        Rows of `u` and rows of `v`, int64 [k], sorted by both within a strip and from strip to
        strip. Pairs that are a little farther than the radius may be among them, no other.
    """
    join = _Join(u, v, reach)
    starts = range(0, len(u), ROWS)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(starts), 4 * threads):  # what was found waits only for few
            yield from pool.map(join.strip, starts[first : first + 4 * threads])


def kernels() -> Any:
    """The inner loops; their compiler is loaded with the first search, not by a launcher."""
    from transforms.vectors import kernels as found

    return found


class _Join:
    """Two sets of vectors, prepared, and how near they have to be."""

    def __init__(self, u: np.ndarray, v: np.ndarray | None, reach: Reach):
        self._within = v is None
        self._left = prepare(u, reach.distance)
        self._right = self._left if v is None else prepare(v, reach.distance)
        self._limits = np.zeros(0, np.float32)
        self._radius = reach.radius * (1 + rounding(u.shape[1])) + 1e-30
        self._lanes: np.ndarray | None = None
        if reach.distance == "manhattan":
            self._spread_first()
        else:
            self._limits = limits(self._left, self._right, reach)

    def _spread_first(self) -> None:
        """Puts the dimensions with the largest spread first: sums can then be abandoned sooner."""
        right = self._right.left
        order = np.argsort(-right.std(axis=0), kind="stable") if len(right) else slice(None)
        self._lanes = kernels().as_lanes(right[:, order])
        self._left = Prepared(
            np.ascontiguousarray(self._left.left[:, order]), self._left.right, self._left.norms
        )

    def strip(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """What is near to the rows from `start` on, ROWS of them."""
        # Sorted, since tiles are found column by column: the order must not show the tile's size.
        if self._lanes is None:
            found = self._by_products(start)
        else:
            found = self._by_sums(start, self._lanes)
        rows, columns = found[:, 0] + start, found[:, 1]
        order = np.lexsort((columns, rows))
        return rows[order], columns[order]

    def _by_sums(self, start: int, lanes: np.ndarray) -> np.ndarray:
        from_block = start // kernels().LANES if self._within else 0
        skipped = from_block * kernels().LANES
        diagonal = start - skipped if self._within else -len(self._left.left) - skipped - 1
        rows = self._left.left[start : start + ROWS]
        found = found_by(
            partial(kernels().near_manhattan, rows, lanes[from_block:], self._radius, diagonal)
        )
        return found + np.array([0, skipped])

    def _by_products(self, start: int) -> np.ndarray:
        rows, least = self._left.left[start : start + ROWS], self._limits[start : start + ROWS]
        right, pieces = self._right.right, [np.zeros((0, 2), np.int64)]
        for column in range(start if self._within else 0, len(right), COLUMNS):
            with np.errstate(invalid="ignore", over="ignore"):  # no numbers: near nothing
                tile = rows @ right[column : column + COLUMNS].T
            diagonal = start - column if self._within else -len(rows)
            found = found_by(partial(kernels().scan, tile, least, diagonal))
            pieces.append(found + np.array([0, column]))
        return np.concatenate(pieces)


def found_by(kernel: Callable[[np.ndarray], int]) -> np.ndarray:
    """What a kernel finds, with as much room as it turns out to need: int64 [k, 2]."""
    room = ROOM
    while True:
        out = np.empty((room, 2), np.int32)
        found = kernel(out)
        if found <= room:
            return out[:found].astype(np.int64)
        room = found
