"""The plan holds every pair of blocks exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.finding.find_pairs import unit_of
from transforms.vector_blocks import units


def compared(plan: list[units.Unit]) -> Counter:
    return Counter(
        (unit.block, unit.side, other) for unit in plan for other in range(unit.first, unit.end)
    )


@given(
    left=st.integers(1, 40), right=st.integers(0, 40), within=st.booleans(), most=st.integers(1, 99)
)
def test_every_pair_of_blocks_is_in_one_unit(left, right, within, most):
    within = within or not right
    blocks = units.TableBlocks(left, right, within)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "MAX_UNITS", most)
        plan = units.plan_units(blocks)
    expected = {(a, "right", b) for a in range(left) for b in range(right)}
    if within:
        expected |= {(a, "left", b) for a in range(left) for b in range(a, left)}
    found = compared(plan)
    assert set(found) == expected
    assert set(found.values()) <= {1}
    assert len({unit.name for unit in plan}) == len(plan)


@given(left=st.integers(1, 20), right=st.integers(0, 20))
def test_a_unit_comes_back_from_its_shard(left, right):
    for unit in units.plan_units(units.TableBlocks(left, right)):
        assert unit_of(units.as_shard(unit, "f")) == unit


def test_as_many_blocks_as_the_rows_need():
    assert [units.block_count(rows) for rows in (0, 1, 32_768, 32_769, 1_000_000)] == [
        1, 1, 1, 2, 31
    ]  # fmt: skip


def test_pairs_within_and_across():
    """5 sentences: 10 pairs; 5 and 3: 15; new with each other and with the old ones: 25."""
    assert units.pairs_of(units.TableBlocks(1), 5, 0) == 10
    assert units.pairs_of(units.TableBlocks(1, 1, within=False), 5, 3) == 15
    assert units.pairs_of(units.TableBlocks(1, 1), 5, 3) == 25
