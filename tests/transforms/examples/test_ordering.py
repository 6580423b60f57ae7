"""Records in order: the same from memory and from disk, and memory that stays."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.examples import ordering
from transforms.examples.ordering import in_order, record_hash

RECORDS = st.lists(st.binary(max_size=12), max_size=60)


def arrays(parts: list[list[bytes]]) -> Iterator[pa.Array]:
    return (pa.array(part, pa.large_binary()) for part in parts)


def flat(parts: Iterator[pa.Array]) -> list[bytes]:
    return [record for part in parts for record in part.to_pylist()]


@settings(deadline=None)
@given(st.lists(RECORDS, max_size=6), st.integers(1, 400))
def test_from_disk_as_from_memory_as_plain_python_sorts(parts, most):
    records = [record for part in parts for record in part]
    hashes = record_hash(pa.array(records, pa.large_binary())).tolist()
    expected = [record for _, record in sorted(zip(hashes, records, strict=True))]
    assert flat(in_order(arrays(parts))) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "ORDERED_BYTES", most)
        assert flat(in_order(arrays(parts))) == expected


def peak_bytes(parts: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of Arrow, for so many parts of a megabyte."""
    monkeypatch.setattr(ordering, "ORDERED_BYTES", 2 << 20)
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        made = (
            pa.array([b"%d %d" % (n, row) + bytes(90) for row in range(10_000)], pa.large_binary())
            for n in range(parts)
        )
        assert sum(len(part) for part in in_order(made)) == 10_000 * parts
        return pool.max_memory()
    finally:
        pa.set_memory_pool(before)


def test_memory_does_not_follow_the_file(monkeypatch):
    few, many = peak_bytes(6, monkeypatch), peak_bytes(24, monkeypatch)
    assert many < 1.2 * few < 24 << 20
