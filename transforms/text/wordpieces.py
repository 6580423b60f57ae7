"""BERT's vocabulary file, read and checked without TensorFlow, so a mistake shows at once."""

from __future__ import annotations

import json

from transforms.errors import UserError
from transforms.storage import files

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def read_wordpieces(path: str) -> tuple[str, ...]:
    """BERT's vocabulary in the order of ids: a vocab.txt has a token a line, a tokenizer.json ids.

    Raises:
        UserError: the file does not exist, lacks a special token, or padding is not id 0.
    """
    if not files.exists(path):
        raise UserError(f"the recipe's text.vocabulary {path} does not exist; expected a vocab.txt")
    content = files.read_bytes(path)
    named = path.endswith(".json")
    vocabulary = _of_json(content) if named else _of_lines(content)
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing or vocabulary[0] != "[PAD]":
        raise UserError(
            f"{path} is not a BERT vocabulary: expected [PAD] in its first line, then [UNK], "
            f"[CLS] and [SEP]; missing: {', '.join(missing) or '[PAD] as the first'}"
        )
    return vocabulary


def _of_lines(content: bytes) -> tuple[str, ...]:
    try:
        return tuple(content.decode().rstrip("\n").split("\n"))
    except UnicodeDecodeError:
        return ("",)


def _of_json(content: bytes) -> tuple[str, ...]:
    """The pieces of a tokenizer.json, whose ids must be 0, 1, 2 and so on."""
    try:
        model = json.loads(content)["model"]
        pieces = sorted(model["vocab"].items(), key=lambda entry: entry[1])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ("",)
    complete = model.get("type") == "WordPiece" and [i for _, i in pieces] == [*range(len(pieces))]
    return tuple(piece for piece, _ in pieces) if complete else ("",)
