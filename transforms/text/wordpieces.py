"""BERT's vocabulary file, read and checked without TensorFlow, so a mistake shows at once."""

from __future__ import annotations

from transforms.errors import UserError
from transforms.storage import files

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def read_wordpieces(path: str) -> tuple[str, ...]:
    """BERT's vocabulary from its vocab.txt: a token a line, in the order of ids.

    Raises:
        UserError: there is no such file, it lacks a special token, or padding is not id 0.
    """
    if not files.exists(path):
        raise UserError(f"the recipe's text.vocabulary {path} does not exist; expected a vocab.txt")
    vocabulary = tuple(files.read_bytes(path).decode().rstrip("\n").split("\n"))
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing or vocabulary[0] != "[PAD]":
        raise UserError(
            f"{path} is not a BERT vocabulary: expected [PAD] in its first line, then [UNK], "
            f"[CLS] and [SEP]; missing: {', '.join(missing) or '[PAD] as the first'}"
        )
    return vocabulary
