"""Near pairs of some rows of one matrix with some of another, prepared once for all of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from transforms.vectors.near import COLUMNS, Reach, found_by, kernels, limits, prepare, rounding

Pairs = tuple[np.ndarray, np.ndarray]


class Rectangles:
    """Two sets of vectors, and how near their pairs have to be.

    What is found is a superset, as `near_pairs` gives it.
    """

    def __init__(self, u: np.ndarray, v: np.ndarray, reach: Reach):
        """Takes vectors float32 [n, d] and [m, d]."""
        self._left = prepare(u, reach.distance)
        self._right = self._left if v is u else prepare(v, reach.distance)
        self._by_sums = reach.distance == "manhattan"
        self._radius = reach.radius * (1 + rounding(u.shape[1])) + 1e-30
        if not self._by_sums:
            self._limits = limits(self._left, self._right, reach)

    def near(self, rows: slice, others: np.ndarray) -> Pairs:
        """The near pairs of a run of rows of `u` with some of `v`, int64 [k] each, in order."""
        if self._by_sums:
            lanes = kernels().as_lanes(self._left.left[rows])
            guests = self._right.left[others]
            kernel = partial(
                kernels().near_manhattan, guests, lanes, self._radius, -len(guests) - 1
            )
            found = found_by(kernel)[:, ::-1]
        else:
            parts = [self._tile(rows, others, at, None) for at in range(0, len(others), COLUMNS)]
            found = np.concatenate([np.zeros((0, 2), np.int64), *parts])
        order = np.lexsort((found[:, 1], found[:, 0]))
        return found[order, 0] + rows.start, others[found[order, 1]]

    def within(self, rows: slice) -> Pairs:
        """The near pairs among a run of rows of `u`, each once."""
        if self._by_sums:
            own = self._left.left[rows]
            lanes = kernels().as_lanes(own)
            found = found_by(partial(kernels().near_manhattan, own, lanes, self._radius, 0))
        else:
            others = np.arange(rows.start, rows.stop)
            parts = [self._tile(rows, others, at, -at) for at in range(0, len(others), COLUMNS)]
            found = np.concatenate([np.zeros((0, 2), np.int64), *parts])
        order = np.lexsort((found[:, 1], found[:, 0]))
        return found[order, 0] + rows.start, found[order, 1] + rows.start

    def _tile(self, rows: slice, others: np.ndarray, at: int, diagonal: int | None) -> np.ndarray:
        """Places near each other; only columns beyond row + diagonal, where there is one."""
        left, right = self._left.left[rows], self._right.right[others[at : at + COLUMNS]]
        with np.errstate(invalid="ignore", over="ignore"):  # no numbers: near nothing
            tile = left @ right.T
        skipped = -len(left) if diagonal is None else diagonal
        found = found_by(partial(kernels().scan, tile, self._limits[rows], skipped))
        return found + np.array([0, at])
