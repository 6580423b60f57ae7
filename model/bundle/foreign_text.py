"""Text of a model that was trained elsewhere → its ids, by its own vocabulary.

Nothing is learned here: the vocabulary is a file of the model's, and ids are its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from transforms.errors import UserError, one_line
from transforms.storage import files
from transforms.text.features import TextFeatures, never_empty, normalize, spell

# What Keras's TextVectorization takes out of a text, and its Tokenizer makes spaces of.
_PUNCTUATION = r"[!\"#$%&()\*\+,\-./:;<=>?@\[\\\]^_`{|}~\']"
_NO_TOKEN = "\n"
_MOST_TOKENS = 1 << 20
_LAST_ID = (1 << 31) - 1


@dataclass(frozen=True)
class ForeignText:
    """How a model's text became ids.

    Attributes:
        tokenizer: `char` and `word` as recipes have them; `keras` for lower case, no punctuation,
            split at spaces, as TextVectorization does by default; `space` only splits at spaces.
        lowercase: no difference of case, for `char`, `word` and `space`.
        nfkc: no difference of width, for the same.
        unknown_id: of tokens that the vocabulary does not hold; None leaves them out.
        max_tokens: how many tokens of a sentence count.
        cut: `post` keeps a longer sentence's first tokens, `pre` its last ones.
        fixed: whether the model takes exactly `max_tokens` ids.
        padding: `post` fills behind the tokens, `pre` before them, where the length is fixed.
    """

    tokenizer: str = "char"
    lowercase: bool = True
    nfkc: bool = True
    unknown_id: int | None = 1
    max_tokens: int = 256
    cut: str = "post"
    fixed: bool = False
    padding: str = "post"

    def tokens(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        """Sentences, strings [n] → tokens, ragged strings [n, at least 1]."""
        if self.tokenizer == "keras":
            plain = tf.strings.regex_replace(tf.strings.lower(sentences, "utf-8"), _PUNCTUATION, "")
            return never_empty(tf.strings.split(plain), _NO_TOKEN)
        if self.tokenizer == "space":
            text = normalize(sentences, lowercase=self.lowercase, nfkc=self.nfkc)
            return never_empty(tf.strings.split(text), _NO_TOKEN)
        features = TextFeatures(
            tokenizer=self.tokenizer,
            lowercase=self.lowercase,
            nfkc=self.nfkc,
            max_tokens=_MOST_TOKENS,
        )
        found = features.tokenize(sentences)
        return found.with_flat_values(spell(found.flat_values))

    def shaped(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids, int32 [b, t] with 0 behind them → as the model wants them, [b, max_tokens]."""
        if not self.fixed:
            return ids
        ids = ids[:, : self.max_tokens]
        missing = self.max_tokens - tf.shape(ids)[1]
        ids = tf.pad(ids, [[0, 0], [0, missing]])
        if self.padding == "pre":
            # Rolled by what is empty behind: a row of zeros stays as it is.
            empty = self.max_tokens - tf.reduce_sum(tf.cast(ids != 0, tf.int32), axis=1)
            places = (tf.range(self.max_tokens)[None] - empty[:, None]) % self.max_tokens
            ids = tf.gather(ids, places, axis=1, batch_dims=1)
        return tf.ensure_shape(ids, [None, self.max_tokens])


class ForeignTokenizer(tf.Module):
    """A vocabulary and its rule, in the graph."""

    def __init__(self, text: ForeignText, vocabulary: dict[str, int]):
        super().__init__()
        self.text = text
        absent = -1 if text.unknown_id is None else text.unknown_id
        tokens = list(vocabulary)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(tokens, tf.string), tf.constant(list(vocabulary.values()), tf.int64)
            ),
            absent,
        )

    def __call__(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        """Sentences, strings [n] → ids, ragged int64 [n, 1 … max_tokens]."""
        tokens = self.text.tokens(sentences)
        ids = tokens.with_flat_values(self.table.lookup(tokens.flat_values))
        ids = tf.ragged.boolean_mask(ids, ids >= 0)
        most = self.text.max_tokens
        ids = ids[:, -most:] if self.text.cut == "pre" else ids[:, :most]
        return never_empty(ids, 0)  # nothing known is all padding


def read_vocabulary(path: str) -> dict[str, int]:
    """A model's vocabulary: token → id.

    JSON holds `{token: id}` (as Keras's `Tokenizer.word_index`) or a list, whose places are the
    ids; any other file a token a line, in the order of ids from 0 on, as `get_vocabulary()` of
    TextVectorization, whose first two are empty and `[UNK]`.

    Raises:
        UserError: there is none, or it is something else.
    """
    if not files.exists(path):
        raise UserError(f"--vocabulary {path} does not exist")
    content = files.read_bytes(path)
    try:
        if path.endswith(".json"):
            found = _of_json(json.loads(content))
        else:
            found = _of_list(content.decode().removesuffix("\n").split("\n"))
        for token in found:
            token.encode()  # half of a surrogate pair is no text
        return found
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"--vocabulary {path}: expected JSON of token and id, or a token a line; "
            f"{one_line(error)}"
        ) from None


def _of_json(content: Any) -> dict[str, int]:
    if isinstance(content, list):
        return _of_list([str(token) for token in content])
    good = isinstance(content, dict) and all(
        type(number) is int and 0 <= number <= _LAST_ID for number in content.values()
    )
    if not good or not content:
        raise ValueError("received neither a list nor an object of whole numbers")
    return dict(content)


def _of_list(tokens: list[str]) -> dict[str, int]:
    ids = {token.rstrip("\r"): number for number, token in enumerate(tokens)}
    ids.pop("", None)  # padding
    if not ids:
        raise ValueError("it is empty")
    return ids
