"""The encoders in C++: the numbers of plain NumPy, and bits that are the sentence's alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels import encoders, library
from model.kernels.encoders import open_encoder
from tests.model.kernels.arrays import (
    LONGEST,
    VOCABULARY,
    bert_arrays,
    cnn_arrays,
    lstm_arrays,
    plain_bert,
    plain_cnn,
    plain_lstm,
    plain_transformer,
    plain_universal,
    transformer_arrays,
    universal_arrays,
)

pytestmark = pytest.mark.skipif(library.open_library() is None, reason="the library is not here")

LSTMS = {
    "last": {"size": 6, "units": [5, 3], "pooling": "last"},
    "mean": {"size": 9, "units": [16], "pooling": "mean"},
    "max": {"size": 3, "units": [17, 8, 4], "pooling": "max"},
    "mean_max": {"size": 20, "units": [40, 9], "pooling": "mean_max"},
}
BERTS = {
    "mean": {"size": 64, "heads": 2, "layers": 2, "inner": 100},
    "cls": {"size": 32, "heads": 1, "layers": 1, "inner": 72, "pooling": "cls"},
    "deep": {"size": 96, "heads": 6, "layers": 3, "inner": 448},
    "mean_max": {"size": 32, "heads": 2, "layers": 1, "inner": 48, "pooling": "mean_max"},
    "wide": {"size": 416, "heads": 13, "layers": 2, "inner": 900},  # more than a block of depth
}
TRANSFORMERS = {
    "mean": {"size": 64, "heads": 4, "layers": 2, "inner": 100, "pooling": "mean"},
    "max": {"size": 32, "heads": 1, "layers": 3, "inner": 40, "pooling": "max"},
    "mean_max": {"size": 416, "heads": 13, "layers": 1, "inner": 70, "pooling": "mean_max"},
}
CNNS = {
    "max": {"size": 7, "filters": 16, "widths": [2, 3, 4], "pooling": "max"},
    "mean": {"size": 20, "filters": 33, "widths": [1, 30], "pooling": "mean"},  # wider than any
    "mean_max": {"size": 400, "filters": 5, "widths": [5], "pooling": "mean_max"},
}
UNIVERSALS = {
    "small": {"size": 32, "width": 32, "inner": 64, "orders": [2, 3, 5], "changed": 9},
    "wide": {"size": 448, "width": 96, "inner": 416, "orders": [4, 5], "changed": 0},
}
CASES = {f"lstm {name}": (lstm_arrays, LSTMS[name], plain_lstm) for name in LSTMS} | {
    f"bert {name}": (bert_arrays, BERTS[name], plain_bert) for name in BERTS
}
CASES |= {
    f"transformer {name}": (transformer_arrays, TRANSFORMERS[name], plain_transformer)
    for name in TRANSFORMERS
}
CASES |= {
    f"universal {name}": (universal_arrays, UNIVERSALS[name], plain_universal)
    for name in UNIVERSALS
}
FIXED = [*CASES]  # kinds that have fixed point
CASES |= {f"cnn {name}": (cnn_arrays, CNNS[name], plain_cnn) for name in CNNS}
SENTENCES = st.lists(
    st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=LONGEST), min_size=1, max_size=150
)


def encode(encoder, sentences) -> np.ndarray:
    lengths = np.array([len(ids) for ids in sentences])
    values = np.array([one for ids in sentences for one in ids], np.int32)
    encoder.check(values, lengths)
    return encoder.encode(values, np.cumsum(lengths) - lengths, lengths)


def some_sentences(rng, count: int) -> list[list[int]]:
    lengths = rng.integers(1, LONGEST + 1, count)
    return [rng.integers(1, VOCABULARY, length).tolist() for length in lengths]


def in_int16(name: str, seed: int):
    """A case's arrays, to be computed with in fixed point, by steps from sentences of its own."""
    make, given_, _ = CASES[name]
    arrays = make(seed, **given_)
    if name.startswith("lstm"):
        return encoders.with_precision(arrays, encoders.INT16)
    sentences = some_sentences(np.random.default_rng(seed), 60)
    lengths = np.array([len(ids) for ids in sentences])
    values = np.concatenate(sentences).astype(np.int32)
    seen = open_encoder(arrays).seen(values, np.cumsum(lengths) - lengths, lengths)
    return encoders.with_precision(arrays, encoders.INT16, seen)


INT16S = {f"{name}, int16": name for name in FIXED}


@pytest.fixture(scope="module")
def opened():
    plain = {name: open_encoder(make(7, **given)) for name, (make, given, _) in CASES.items()}
    return plain | {both: open_encoder(in_int16(name, 7)) for both, name in INT16S.items()}


@pytest.mark.parametrize("name", FIXED)
def test_int16_is_near_and_not_the_same(name, opened):
    sentences = some_sentences(np.random.default_rng(8), 130)
    exact, near = (encode(opened[one], sentences) for one in (name, f"{name}, int16"))
    size = np.linalg.norm(exact, axis=1) * np.linalg.norm(near, axis=1)
    cosine = (exact * near).sum(1) / size
    assert cosine.min() > 0.999 and np.median(cosine) > 0.9999
    assert not np.array_equal(exact, near)


def test_the_greatest_inputs_of_a_layer_s_products_are_seen():
    arrays = bert_arrays(7, **BERTS["cls"])
    ids = np.array([3, 1, 4], np.int32)
    seen = open_encoder(arrays).seen(ids, np.array([0]), np.array([3]))
    words = arrays["embeddings"][ids] + arrays["positions"][:3]
    apart = words - words.mean(1, keepdims=True)
    normed = apart / np.sqrt((apart**2).mean(1, keepdims=True)) * arrays["scale"] + arrays["offset"]
    np.testing.assert_allclose(seen[0], np.abs(normed).max(), rtol=1e-5)
    assert len(seen) == 4 and (seen > 0).all()


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_plain_numpy(name, opened):
    make, given_, plain = CASES[name]
    arrays = make(7, **given_)
    sentences = some_sentences(np.random.default_rng(1), 130)  # more than a group or a row block
    wanted = [plain(arrays, np.array(ids)) for ids in sentences]
    np.testing.assert_allclose(encode(opened[name], sentences), wanted, atol=5e-5)


def test_an_input_that_is_not_folded_gives_the_same(monkeypatch):
    arrays = lstm_arrays(3, **LSTMS["mean_max"])
    sentences = some_sentences(np.random.default_rng(2), 40)
    folded = encode(open_encoder(arrays), sentences)
    monkeypatch.setattr(encoders, "MAX_TABLE_BYTES", 0)
    near = encode(open_encoder(encoders.with_precision(arrays, encoders.INT16)), sentences)
    np.testing.assert_allclose(near, folded, atol=2e-2)
    # The sum of the input's part is the same chain of additions, before the loop or in it.
    np.testing.assert_array_equal(encode(open_encoder(arrays), sentences), folded)


@pytest.mark.parametrize("name", CNNS)
def test_convolutions_that_are_not_folded_give_the_same_bits(name, monkeypatch):
    arrays = cnn_arrays(3, **CNNS[name])
    sentences = some_sentences(np.random.default_rng(2), 40)
    folded = encode(open_encoder(arrays), sentences)
    monkeypatch.setattr(encoders, "MAX_TABLE_BYTES", 0)
    np.testing.assert_array_equal(encode(open_encoder(arrays), sentences), folded)


@pytest.mark.parametrize("name", [*CASES, *INT16S])
@settings(max_examples=15)
@given(data=st.data())
def test_bits_are_the_sentence_s_alone(name, opened, data):
    sentences = data.draw(SENTENCES)
    together = encode(opened[name], sentences)
    order = data.draw(st.permutations(range(len(sentences))))
    cut = data.draw(st.integers(1, len(sentences)))
    parts = [order[:cut], order[cut:]]
    for part in filter(None, parts):
        found = encode(opened[name], [sentences[at] for at in part])
        np.testing.assert_array_equal(found, together[part])
    alone = encode(opened[name], sentences[:1])
    np.testing.assert_array_equal(alone[0], together[0])


@pytest.mark.parametrize("name", CASES)
def test_any_number_of_threads_may_call_at_once(name, opened):
    rng = np.random.default_rng(4)
    batches = [some_sentences(rng, 60) for _ in range(12)]
    wanted = [encode(opened[name], batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: encode(opened[name], batch), batches))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(
    getattr(library.open_library(), "twinbeam_level", lambda: 0)() < 2, reason="no AVX-512 here"
)
@pytest.mark.parametrize("name", [*CASES, *INT16S])
def test_all_instruction_sets_give_the_same_bits(name):
    if name in INT16S:
        arrays = in_int16(INT16S[name], 5)
    else:
        make, given_, _ = CASES[name]
        arrays = make(5, **given_)
    sentences = some_sentences(np.random.default_rng(5), 130)
    found = [encode(open_encoder(arrays, level=level), sentences) for level in (1, 2)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("values", "lengths", "message"),
    [
        ([1, VOCABULARY], [2], "ids from 0 to 50; the encoder has 50"),
        ([-1, 2], [2], "ids from -1 to 2"),
        ([1, 2], [2, 0], "without any"),
        ([1, 2], [3], "do not fit"),
        ([1] * (LONGEST + 1), [LONGEST + 1], "25 tokens; the encoder has 24 positions"),
    ],
)
def test_what_would_be_read_beyond_an_array_is_refused(values, lengths, message, opened):
    with pytest.raises(ValueError, match=message):
        opened["bert mean"].check(np.array(values, np.int32), np.array(lengths))


def test_without_the_library_there_is_no_encoder_and_a_warning(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    library.open_library.cache_clear()
    try:
        assert open_encoder(lstm_arrays(1, **LSTMS["last"])) is None
        assert "encoded by TensorFlow" in caplog.text and "was not built" in caplog.text
    finally:
        library.open_library.cache_clear()


def test_a_library_of_other_sources_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(library, "INTERFACE", library.INTERFACE + 1)
    library.open_library.cache_clear()
    try:
        assert open_encoder(lstm_arrays(1, **LSTMS["last"])) is None
        assert "was built from other sources" in caplog.text
    finally:
        library.open_library.cache_clear()
