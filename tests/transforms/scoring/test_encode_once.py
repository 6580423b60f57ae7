"""In how many pieces sentences are encoded, and to which piece each one goes."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from transforms.scoring.encode_once import BUCKET_SENTENCES, bucket_count, by_bucket


@pytest.mark.parametrize("rows", [1, 50_000, 50_001, 10**6, 205_000_000, 10**9, 10**11])
def test_pieces_follow_the_sentences_so_that_none_is_larger_than_it_may_be(rows):
    pieces = bucket_count(rows)
    assert 2 * rows / pieces <= BUCKET_SENTENCES
    assert pieces == 1 or 2 * rows / pieces > BUCKET_SENTENCES / 2


@pytest.mark.parametrize("pieces", [1, 4_096, 1 << 20])
def test_each_sentence_goes_to_the_piece_that_its_key_begins_with(pieces):
    texts = [f"question {number}" for number in range(2_000)]
    found = {
        text: piece
        for piece, sentences in by_bucket(pa.array(texts, pa.large_string()), pieces)
        for text in sentences.to_pylist()
    }
    bits = pieces.bit_length() - 1

    def wanted(text: str) -> int:
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()) >> 128 - bits

    assert found == {text: wanted(text) for text in texts}
