"""SentencePiece's model file, read and checked without TensorFlow, so a mistake shows at once."""

from __future__ import annotations

from collections.abc import Iterator

from transforms.errors import UserError
from transforms.storage import files

FIRST_PIECES = (b"<unk>", b"<s>", b"</s>")
_PIECES = 1  # the field of `ModelProto` that holds a piece, once for each
_TEXT = 1  # the field of a piece that holds its text
_MESSAGE = 2  # the wire type of what comes with its length before it


def read_sentencepieces(path: str) -> bytes:
    """A SentencePiece model, as stored in its file.

    Raises:
        UserError: the file does not exist, or its pieces do not begin with <unk>, <s> and </s>.
    """
    if not files.exists(path):
        raise UserError(
            f"the recipe's SentencePiece model {path} does not exist; give its path as "
            "text.vocabulary"
        )
    model = files.read_bytes(path)
    try:
        first = tuple(_text(piece) for piece, _ in zip(pieces(model), FIRST_PIECES, strict=False))
    except (IndexError, ValueError):
        first = ()
    if first != FIRST_PIECES:
        raise UserError(
            f"{path} is not a SentencePiece model whose first pieces are <unk>, <s> and </s>; "
            f"received {b' '.join(first).decode(errors='replace') or 'no pieces'}"
        )
    return model


def count_pieces(model: bytes) -> int:
    """How many pieces a model has."""
    return sum(1 for _ in pieces(model))


def pieces(model: bytes) -> Iterator[bytes]:
    """The pieces of a model, each still encoded.

    Raises:
        ValueError: the bytes are not a protocol buffer of messages.
    """
    return (value for field, value in _fields(model) if field == _PIECES)


def _text(piece: bytes) -> bytes:
    return next((value for field, value in _fields(piece) if field == _TEXT), b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protocol buffer that have a length (protobuf.dev, "Encoding")."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1 | 5 as fixed:
                at += 8 if fixed == 1 else 4
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise ValueError("a field is longer than its message")
                yield tag >> 3, message[at : at + length]
                at += length
            case other:
                raise ValueError(f"wire type {other}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
