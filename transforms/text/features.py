"""Sentences to token ids, as TensorFlow graph functions: the same graph trains and serves.

Both sentences of a pair go through one tokeniser and one vocabulary. Ids: 0 is padding and never
comes out of here, 1 is out-of-vocabulary, the vocabulary starts at 2. WordPiece keeps BERT's own
ids, and SentencePiece's are one more than its own, since its 0 is the unknown piece. No sentence
comes out empty: one without any token gets a single out-of-vocabulary token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tensorflow as tf
import tensorflow_text as tf_text
import tensorflow_transform as tft

from transforms.text.token_ids import FIRST_ID, UNKNOWN_ID

VOCABULARY = "vocabulary"
NUMBERS = ("label", "weight", "teacher", "first_key", "second_key")
SIDES = (("sentence1", "1"), ("sentence2", "2"), ("sentence3", "3"))  # the third in triplets only

# Never a token: control characters are dropped, and tft.vocabulary leaves line breaks out.
_NO_TOKEN = "\n"
_INVISIBLE = r"[\p{Z}\p{Cc}\p{Cf}]+"
_FORMAT = r"\p{Cf}+"
_SPACE = r"[\p{Z}\p{Cc}]+"
# Scripts written without spaces, punctuation and symbols: each character is a token.
_ALONE = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{P}\p{S}])"


@dataclass(frozen=True)
class TextFeatures:
    """The `preprocessing_fn` of tf.Transform; a plain value, so it can be pickled and compared.

    Attributes:
        tokenizer: `char`, `word`, `wordpiece`, `sentencepiece`, or `none` for encoders that read
            raw text.
        lowercase: whether upper and lower case are the same.
        nfkc: whether full-width and half-width forms are the same (Unicode NFKC).
        max_vocabulary: the most frequent tokens that get an id of their own.
        min_count: how often a token must be seen to get one.
        max_tokens: a sentence's later tokens are cut off.
        wordpieces: BERT's vocabulary in the order of its ids, for `wordpiece`.
        sentencepieces: the model file's bytes, for `sentencepiece`.
        prefix: comes before every sentence.
    """

    tokenizer: str = "char"
    lowercase: bool = True
    nfkc: bool = True
    max_vocabulary: int = 50_000
    min_count: int = 1
    max_tokens: int = 256
    wordpieces: tuple[str, ...] = ()
    sentencepieces: bytes = field(default=b"", repr=False)
    prefix: str = ""

    @property
    def unknown_id(self) -> int | None:
        """The id of tokens that the vocabulary does not hold; None for raw text."""
        if self.tokenizer == "wordpiece":
            return self.wordpieces.index("[UNK]")
        return None if self.tokenizer == "none" else UNKNOWN_ID

    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Raw features to model features.

        Args:
            inputs: `sentence1` and `sentence2`, in triplets also `sentence3` (strings [n]), and
                `label`, and maybe `weight` and `teacher` (float32 [n]).

        Returns:
            `ids1`, `ids2` and so on (ragged int64 [n, tokens]), or `text1` and so on (strings [n])
            where the tokeniser is `none`; and the numbers as they are.
        """
        numbers = {name: inputs[name] for name in NUMBERS if name in inputs}
        sides = [(self.prefixed(inputs[name]), side) for name, side in SIDES if name in inputs]
        if self.tokenizer == "none":
            return {f"text{side}": text for text, side in sides} | numbers
        tokens = {f"ids{side}": self.tokenize(text) for text, side in sides}
        given = self.tokenizer in ("wordpiece", "sentencepiece")
        return (tokens if given else self._look_up(tokens)) | numbers

    def prefixed(self, sentences: tf.Tensor) -> tf.Tensor:
        """Sentences, strings [n], with the prefix before each."""
        return tf.strings.join([self.prefix, sentences]) if self.prefix else sentences

    def tokenize(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        """Sentences [n], valid UTF-8 → tokens, ragged [n, at least 1].

        Characters are int32 code points, words are strings; of the others it is their int64 ids.
        """
        if self.tokenizer == "wordpiece":
            return wordpieces(sentences, self)
        if self.tokenizer == "sentencepiece":
            return sentencepieces(sentences, self)
        text = normalize(sentences, lowercase=self.lowercase, nfkc=self.nfkc)
        tokens = {"char": characters, "word": words}[self.tokenizer](text)
        no_token = _NO_TOKEN if self.tokenizer == "word" else ord(_NO_TOKEN)
        return never_empty(tokens[:, : self.max_tokens], no_token)

    def identity(self, sentences: tf.Tensor) -> tf.Tensor:
        """Strings [n], valid UTF-8 → strings [n], equal where sentences have the same tokens.

        So sentences that differ only in case, width, spaces or after `max_tokens` are one, as to a
        model. Needs no vocabulary: wordpieces are pieces of these words.
        """
        if self.tokenizer == "none":
            return sentences
        if self.tokenizer == "wordpiece":
            text = clean_for_wordpieces(sentences, self)
            return tf.strings.reduce_join(words(text), axis=1, separator=" ")
        if self.tokenizer == "sentencepiece":  # which brings NFKC of its own
            text = normalize(sentences, lowercase=self.lowercase, nfkc=True)
            return tf.strings.strip(tf.strings.regex_replace(text, _SPACE, " "))
        text = normalize(sentences, lowercase=self.lowercase, nfkc=self.nfkc)
        if self.tokenizer == "char":
            return tf.strings.unicode_encode(characters(text)[:, : self.max_tokens], "UTF-8")
        return tf.strings.reduce_join(words(text)[:, : self.max_tokens], axis=1, separator=" ")

    def _look_up(self, tokens: dict[str, tf.RaggedTensor]) -> dict[str, tf.RaggedTensor]:
        """Tokens of both sides → ids in one vocabulary, learned from both."""
        both = tf.concat([side.flat_values for side in tokens.values()], axis=0)
        distinct, _, counts = tf.unique_with_counts(both, tf.int64)
        # Counted in the graph, and whole-number weights keep it exact: without, TFT would count
        # token by token in Python.
        vocabulary = tft.vocabulary(
            spell(distinct),
            weights=counts,
            top_k=self.max_vocabulary,
            frequency_threshold=self.min_count if self.min_count > 1 else None,  # 1 only warns
            vocab_filename=VOCABULARY,
        )
        return {name: token_ids(side, vocabulary) for name, side in tokens.items()}


def token_ids(tokens: tf.RaggedTensor, vocabulary: tf.Tensor) -> tf.RaggedTensor:
    """Tokens, ragged [n, tokens] → int64 ids of the same shape; each distinct one is looked up."""
    distinct, place = tf.unique(tokens.flat_values)
    unknown = UNKNOWN_ID - FIRST_ID
    ids = tft.apply_vocabulary(spell(distinct), vocabulary, default_value=unknown) + FIRST_ID
    return tokens.with_flat_values(tf.gather(ids, place))


def spell(tokens: tf.Tensor) -> tf.Tensor:
    """Tokens [n] as strings [n]: what they are, or the characters of code points."""
    if tokens.dtype == tf.string:
        return tokens
    return tf.strings.unicode_encode(tokens[:, tf.newaxis], "UTF-8")


def normalize(sentences: tf.Tensor, *, lowercase: bool, nfkc: bool) -> tf.Tensor:
    """Strings [n] → strings [n] without differences of case, and in Unicode NFKC, as configured.

    Both together are Unicode's NFKC_Casefold, which also drops characters that are never seen.
    """
    if lowercase and nfkc:
        return tf_text.case_fold_utf8(sentences)
    if lowercase:
        return tf_text.normalize_utf8(lower(tf_text.normalize_utf8(sentences, "NFD")), "NFC")
    return tf_text.normalize_utf8(sentences, "NFKC") if nfkc else sentences


def lower(decomposed: tf.Tensor) -> tf.Tensor:
    """Decomposed (NFD) strings [n] → strings [n] in lower case, in any locale.

    `tf.strings.lower` follows the locale of the process: "I" becomes a dotless i where it is
    Turkish, and a bundle would score differently there. What locales disagree on are I and J,
    once accents are apart, and those are ASCII: they are lowered first, by bytes. It also drops
    all that follows a NUL, so a space replaces it.
    """
    text = tf.strings.regex_replace(decomposed, r"\x00", " ")
    return tf.strings.lower(tf.strings.lower(text), encoding="utf-8")


def characters(text: tf.Tensor) -> tf.RaggedTensor:
    """Strings [n] → code points of their visible characters, ragged int32 [n, characters]."""
    return tf.strings.unicode_decode(tf.strings.regex_replace(text, _INVISIBLE, ""), "UTF-8")


def words(text: tf.Tensor) -> tf.RaggedTensor:
    """Strings [n] → words, ragged [n, words]; Chinese, kana, punctuation and symbols one by one."""
    text = tf.strings.regex_replace(text, _FORMAT, "")
    text = tf.strings.regex_replace(text, _SPACE, " ")
    return tf.strings.split(tf.strings.regex_replace(text, _ALONE, r" \1 "))


def never_empty(tokens: tf.RaggedTensor, no_token: str | int) -> tf.RaggedTensor:
    """Gives rows without a token the one that means none: ragged [n, at least 1]."""
    missing = tf.cast(tokens.row_lengths() == 0, tf.int64)
    filler = tf.fill([tf.reduce_sum(missing)], tf.constant(no_token, tokens.dtype))
    return tf.concat([tokens, tf.RaggedTensor.from_row_lengths(filler, missing)], axis=1)


def wordpieces(sentences: tf.Tensor, features: TextFeatures) -> tf.RaggedTensor:
    """Strings [n] → BERT's ids, [CLS] … [SEP], ragged int64 [n, 2 … max_tokens]."""
    vocabulary = features.wordpieces
    text = clean_for_wordpieces(sentences, features)
    tokenizer = tf_text.FastBertTokenizer(list(vocabulary), token_out_type=tf.int64)
    ids = tokenizer.tokenize(text)[:, : features.max_tokens - 2]
    ends = [tf.fill([ids.nrows(), 1], vocabulary.index(end)) for end in ("[CLS]", "[SEP]")]
    start, end = (tf.cast(column, tf.int64) for column in ends)
    return tf.concat([start, ids, end], axis=1)


def clean_for_wordpieces(sentences: tf.Tensor, features: TextFeatures) -> tf.Tensor:
    """Strings [n] → strings [n], cleaned as BERT's own tokeniser does it.

    The `lower_case_nfd_strip_accents` of tensorflow-text does not quite do so: it also makes
    full-width characters half-width.
    """
    text = tf.strings.regex_replace(sentences, r"[\t\n\r\p{Z}]+", " ")
    text = tf.strings.regex_replace(text, r"[\p{C}\x{FFFD}]+", "")
    if features.nfkc:
        text = tf_text.normalize_utf8(text, "NFKC")
    if features.lowercase:
        accents_apart = tf_text.normalize_utf8(text, "NFD")
        text = lower(tf.strings.regex_replace(accents_apart, r"\p{Mn}+", ""))
    return text


def sentencepieces(sentences: tf.Tensor, features: TextFeatures) -> tf.RaggedTensor:
    """Strings [n] → SentencePiece's ids + 1, <s> … </s>, ragged int64 [n, 3 … max_tokens].

    The model brings its own normalisation; the recipe's comes before it.
    """
    text = normalize(sentences, lowercase=features.lowercase, nfkc=features.nfkc)
    pieces = tf.cast(_sentencepiece(features.sentencepieces).tokenize(text), tf.int64) + 1
    pieces = never_empty(pieces[:, : features.max_tokens - 2], UNKNOWN_ID)
    start, end = (tf.fill([pieces.nrows(), 1], tf.constant(at + 1, tf.int64)) for at in (1, 2))
    return tf.concat([start, pieces, end], axis=1)


def _sentencepiece(model: bytes) -> tf_text.SentencepieceTokenizer:
    """The tokenizer, which holds a resource; what tf.Transform writes must hold on to it too."""
    if not tf.inside_function():
        return tf_text.SentencepieceTokenizer(model)
    return tft.make_and_track_object(lambda: tf_text.SentencepieceTokenizer(model), "sentencepiece")
