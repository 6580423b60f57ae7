"""Sentences that a model cannot tell apart are one sentence to the split."""

from __future__ import annotations

import pickle
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.examples.sentence_keys import SentenceKeys
from transforms.examples.split import EvalSplit

CHARS, WORDS = SentenceKeys("char"), SentenceKeys("word")
PIECES, RAW = SentenceKeys("wordpiece", nfkc=False), SentenceKeys("none")


def keys(how, *texts):
    return how(pa.array(texts, pa.large_string())).to_pylist()


@pytest.mark.parametrize(
    ("how", "one", "other", "same"),
    [
        (CHARS, "如何还款？", "如何 还款?", True),  # full width, and a space that is no token
        (CHARS, "ABC", "abc", True),
        (CHARS, "abc", "abd", False),
        (SentenceKeys("char", lowercase=False), "ABC", "abc", False),
        (SentenceKeys("char", max_tokens=3), "abcd", "abcx", True),  # cut off behind the third
        (SentenceKeys("char", max_tokens=4), "abcd", "abcx", False),
        (WORDS, "How are  you?", "how ARE you ?", True),
        (WORDS, "how are you", "howare you", False),
        (SentenceKeys("word", max_tokens=2), "a b c", "a b d", True),
        (PIECES, "Café  now!", "cafe now !", True),
        (PIECES, "cafe now", "cafe then", False),
        (RAW, "a", "A", False),
        (RAW, "a", "a", True),
    ],
)
def test_variants_of_a_sentence_have_one_key(how, one, other, same):
    first, second = keys(how, one, other)
    assert (first == second) == same


def test_keys_are_made_of_bytes_and_of_repeated_and_no_sentences_alike():
    assert CHARS(pa.array([b"A b", "Ａb".encode(), b"A b"])).to_pylist() == [b"ab"] * 3
    assert CHARS(pa.array([], pa.large_string())).to_pylist() == []
    assert pickle.loads(pickle.dumps(CHARS)) == CHARS


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=8), min_size=1))
def test_characters_are_compared_as_python_s_own_case_folding_does(texts):
    def plain(text):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        return "".join(c for c in folded if unicodedata.category(c) not in ("Zs", "Cf", "Cc"))

    found = keys(CHARS, *texts)
    for key, text in zip(found, texts, strict=True):
        for other_key, other in zip(found, texts, strict=True):
            if plain(text) == plain(other):
                assert key == other_key


@pytest.mark.parametrize("by", ["pairs", "groups"])
def test_variants_of_a_pair_fall_to_one_part(by):
    from transforms.hashing import text_hash

    firsts = [f"Question {n} How?" for n in range(300)]
    seconds = [f"answer {n}" for n in range(300)]
    split = EvalSplit(0.3, by, keys=CHARS)
    if by == "groups":
        held = CHARS(pa.array(firsts[:90], pa.large_string()))
        split = EvalSplit(0.3, by, np.sort(text_hash(held)), CHARS)
    variants = [text.upper().replace(" ", "\u3000").replace("?", "？") for text in firsts]
    sides = [pa.array(texts, pa.large_string()) for texts in (firsts, variants, seconds)]
    parts = split.takes(sides[0], sides[2])
    np.testing.assert_array_equal(split.takes(sides[1], sides[2]), parts)
    assert 50 < parts.sum() < 150
