import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.examples.split import EvalSplit
from transforms.hashing import pair_hash, text_hash

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20)


def columns(pairs):
    return [pa.array([pair[side] for pair in pairs], pa.large_string()) for side in (0, 1)]


@settings(deadline=None)
@given(PAIRS, st.floats(0, 1))
def test_a_pair_and_its_mirror_stay_together(pairs, fraction):
    first, second = columns(pairs)
    split = EvalSplit(fraction)
    assert (split.takes(first, second) == split.takes(second, first)).all()


@settings(deadline=None)
@given(PAIRS, st.data())
def test_the_side_depends_on_the_pair_alone(pairs, data):
    order = data.draw(st.permutations(range(len(pairs))))
    split = EvalSplit(0.5)
    whole = split.takes(*columns(pairs))
    alone = [split.takes(*columns([pair]))[0] for pair in pairs]
    shuffled = split.takes(*columns([pairs[place] for place in order]))
    assert whole.tolist() == alone
    assert shuffled.tolist() == [alone[place] for place in order]


def numbered(count):
    return columns([(f"question {n}", f"frage {n % 97}") for n in range(count)])


def test_about_the_fraction_goes_to_eval():
    count = 20_000
    for fraction in (0.0, 0.05, 0.1, 0.5, 1.0):
        deviation = math.sqrt(count * fraction * (1 - fraction))  # of a binomial
        found = int(EvalSplit(fraction).takes(*numbered(count)).sum())
        assert abs(found - count * fraction) <= 4 * deviation


def test_by_groups_the_rows_of_sentences_that_are_held_out_are_taken():
    sides = columns([("a", "b"), ("c", "d"), ("b", "a"), ("e", "d")])
    held_out = np.sort(text_hash(pa.array(["a", "b"], pa.large_string())))
    split = EvalSplit(0.5, "groups", held_out)
    assert split.takes(*sides).tolist() == [True, False, True, False]


def test_a_larger_fraction_keeps_the_pairs_of_a_smaller_one():
    small, large = (EvalSplit(fraction).takes(*numbered(2000)) for fraction in (0.1, 0.2))
    assert small.any() and not (small & ~large).any()


def test_pairs_with_the_same_words_elsewhere_differ():
    left = pair_hash(*columns([("a", "b"), ("ab", ""), ("a", "a"), ("b", "b")]))
    assert len(set(left.tolist())) == 4


MASK = (1 << 64) - 1


def siphash(text, key):
    """SipHash-2-4 (Aumasson and Bernstein, 2012), written from the paper."""

    def turn(value, bits):
        return (value << bits | value >> (64 - bits)) & MASK

    def mix(a, b, c, d):
        a, c = (a + b) & MASK, (c + d) & MASK
        b, d = turn(b, 13) ^ a, turn(d, 16) ^ c
        a = turn(a, 32)
        c, a = (c + b) & MASK, (a + d) & MASK
        b, d = turn(b, 17) ^ c, turn(d, 21) ^ a
        return a, b, turn(c, 32), d

    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    starts = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    state = tuple(start ^ k for start, k in zip(starts, (k0, k1, k0, k1), strict=True))
    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        a, b, c, d = mix(*mix(*state[:3], state[3] ^ word))
        state = a ^ word, b, c, d
    state = (*state[:2], state[2] ^ 0xFF, state[3])
    for _ in range(4):
        state = mix(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def finish(bits):
    """The finaliser of SplitMix64, which pandas puts behind SipHash."""
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return bits ^ bits >> 31


def splitmix(bits):
    return finish((bits + 0x9E3779B97F4A7C15) & MASK)


def test_the_hash_is_siphash_mixed_so_that_the_split_stays_as_it_is():
    # Another hash would move pairs between the parts of examples made earlier.
    pairs = [("我的卡丢了", "卡片遗失"), ("where is my card", "lost card"), ("", ""), ("b", "a")]
    expected = []
    for pair in pairs:
        hashes = (siphash(text.encode(), b"twinbeam-split-1") for text in pair)
        low, high = sorted(finish(text) for text in hashes)
        expected.append(splitmix(splitmix(low) ^ high))
    assert pair_hash(*columns(pairs)).tolist() == expected


def test_hashes_of_binary_and_text_are_one():
    first, second = numbered(50)
    as_bytes = [column.cast(pa.large_binary()) for column in (first, second)]
    assert np.array_equal(pair_hash(first, second), pair_hash(*as_bytes))
