"""When two sentences are the same to a model: where they have the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class SentenceKeys:
    """Sentences → keys, equal for those whose tokens are.

    What a recipe says of its text, without TensorFlow: that is loaded where keys are made.

    Attributes:
        tokenizer: see `TextFeatures`; `none` takes every sentence unchanged.
        lowercase: whether upper and lower case are the same.
        nfkc: whether full-width and half-width forms are the same.
        max_tokens: what comes later does not count.
    """

    tokenizer: str = "none"
    lowercase: bool = True
    nfkc: bool = True
    max_tokens: int = 256

    def __call__(self, sentences: pa.Array) -> pa.Array:
        """Strings or their bytes [n] → keys, large_binary [n]."""
        texts = sentences.cast(pa.large_binary())
        if self.tokenizer == "none" or not len(texts):
            return texts
        import tensorflow as tf

        from transforms.text.features import TextFeatures

        features = TextFeatures(
            tokenizer=self.tokenizer,
            lowercase=self.lowercase,
            nfkc=self.nfkc,
            max_tokens=self.max_tokens,
        )
        distinct = texts.dictionary_encode()  # sentences repeat, and tokens cost
        with tf.device("CPU"):
            keys = features.identity(tf.constant(distinct.dictionary.to_pylist(), tf.string))
        return pa.array(keys.numpy(), pa.large_binary()).take(distinct.indices)
