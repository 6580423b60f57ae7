"""A vocabulary that comes with a pre-trained model, and is not learned from the data."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.text.sentencepieces import count_pieces, read_sentencepieces
from transforms.text.wordpieces import read_wordpieces


@dataclass(frozen=True)
class GivenVocabulary:
    """What the tokenizer is built from.

    Attributes:
        wordpieces: BERT's vocabulary in the order of its ids.
        sentencepieces: a SentencePiece model.
        size: ids in use, padding included; 0 where the vocabulary is learned.
    """

    wordpieces: tuple[str, ...] = ()
    sentencepieces: bytes = b""
    size: int = 0


def read_given_vocabulary(tokenizer: str, path: str | None) -> GivenVocabulary:
    """The vocabulary in a tokenizer's file; none for tokenizers that learn theirs.

    Raises:
        UserError: the file is not there, or is another thing.
    """
    if tokenizer == "wordpiece" and path:
        wordpieces = read_wordpieces(path)
        return GivenVocabulary(wordpieces=wordpieces, size=len(wordpieces))
    if tokenizer == "sentencepiece" and path:
        model = read_sentencepieces(path)
        return GivenVocabulary(sentencepieces=model, size=count_pieces(model) + 1)
    return GivenVocabulary()
