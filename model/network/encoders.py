"""Encoders: from a sentence's ids to its vector. One function builds each kind, see `kinds`.

All are functional Keras models from ids, int32 [b, t] with 0 as padding on the right, to float32
[b, d]; `saved_model` reads the sentences themselves, strings [b]. A row has at least one id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from model.network.dropout import StepDropout, drop_by_step
from model.network.pooling import PACKAGE, pool
from model.network.saved_model_vectors import SavedModelVectors
from model.recipe import parts
from model.recipe.kind_rows import resolve
from model.recipe.paths import resolve_path
from transforms.errors import UserError

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe

EMBEDDING = "embedding"


def build_encoder(
    recipe: Recipe,
    *,
    vocabulary_size: int,
    vectors: np.ndarray | None = None,
    trained_ids: np.ndarray | None = None,
) -> keras.Model:
    """The encoder of a recipe, with fresh weights where they do not come from files.

    Args:
        recipe: says which kind and how large.
        vocabulary_size: ids in use, padding (0) and out-of-vocabulary (1) included.
        vectors: start values of the embedding, [vocabulary_size, dimensions].
        trained_ids: ids whose rows may be trained, [n], if the encoder brings its own table.

    Raises:
        UserError: vectors of another shape; files of a pre-trained model that are not there.
    """
    build = resolve(recipe.encoder_kind.build)
    if recipe.encoder_kind.trains_used_ids:
        return build(recipe, vocabulary_size=vocabulary_size, trained_ids=trained_ids)
    return build(recipe, vocabulary_size=vocabulary_size, vectors=vectors)


def _model(ids: Any, vectors: Any) -> keras.Model:
    return keras.Model(ids, _exact(vectors), name="encoder")


def _ids() -> Any:
    return keras.Input((None,), dtype="int32", name="ids")


def _within(ids: Any, longest: int) -> Any:
    """Ids [b, t] → [b, at most `longest`], for encoders with a vector for each place.

    No sentence has more tokens, so what is cut off is padding: training pads to multiples of four,
    and scoring to the lengths of its batches.
    """
    return ids[:, :longest]


def _exact(vectors: Any) -> Any:
    """What follows the encoder computes in float32, whatever its layers do."""
    return vectors if vectors.dtype == "float32" else ops.cast(vectors, "float32")


def _embed(
    recipe: Recipe, ids: Any, size: int, vectors: np.ndarray | None, *, masked: bool = False
) -> Any:
    spec = recipe.embedding
    assert spec is not None
    start: Any = "uniform"
    if vectors is not None:
        if vectors.shape != (size, spec.dimensions):
            raise UserError(
                f"word vectors have the shape {list(vectors.shape)}; the recipe and the "
                f"vocabulary need {[size, spec.dimensions]}; set embedding.dimensions to fit"
            )
        start = keras.initializers.Constant(0.0)
    layer = keras.layers.Embedding(
        size,
        spec.dimensions,
        embeddings_initializer=start,
        mask_zero=masked,
        trainable=spec.trainable,
        name=EMBEDDING,
    )
    tokens = layer(ids)
    if vectors is not None:
        layer.set_weights([vectors])  # not as an initialiser: the config would hold the matrix
    return StepDropout(spec.dropout)(tokens) if spec.dropout else tokens


def bilstm(recipe: Recipe, *, vocabulary_size: int, vectors: np.ndarray | None) -> keras.Model:
    """LSTMs in both directions, one on the other."""
    spec, ids = recipe.encoder, _ids()
    assert isinstance(spec, parts.BiLstm)
    tokens = _embed(recipe, ids, vocabulary_size, vectors, masked=True)
    for number, units in enumerate(spec.units, start=1):
        # The last layer gives all states where they are pooled, else the last of each direction:
        # forwards at the sentence's end, backwards at its begin, by Keras's mask.
        sequences = number < len(spec.units) or spec.pooling != "last"
        lstm = keras.layers.LSTM(units, return_sequences=sequences)
        tokens = keras.layers.Bidirectional(lstm, name=f"bilstm_{number}")(tokens)
        if spec.dropout:
            tokens = StepDropout(spec.dropout)(tokens)
    if spec.pooling != "last":
        tokens = pool(spec.pooling, tokens, ops.not_equal(ids, 0))
    return _model(ids, tokens)


def cnn(recipe: Recipe, *, vocabulary_size: int, vectors: np.ndarray | None) -> keras.Model:
    """Convolutions of several widths side by side."""
    spec, ids = recipe.encoder, _ids()
    assert isinstance(spec, parts.Cnn)
    tokens = _embed(recipe, ids, vocabulary_size, vectors)
    keep = ops.not_equal(ids, 0)
    # Padding has a learned vector as well: windows that reach over the end must see zeros, as they
    # do where a sentence fills its batch, or a vector would depend on the padding.
    tokens = ops.multiply(tokens, ops.cast(ops.expand_dims(keep, -1), "float32"))
    tokens = ops.concatenate(
        [
            keras.layers.Conv1D(
                spec.filters, width, padding="same", activation="relu", name=f"conv_{width}"
            )(tokens)
            for width in spec.widths
        ],
        axis=-1,
    )
    encoded = pool(spec.pooling, tokens, keep)
    return _model(ids, StepDropout(spec.dropout)(encoded) if spec.dropout else encoded)


def transformer(recipe: Recipe, *, vocabulary_size: int, vectors: np.ndarray | None) -> keras.Model:
    """A small Transformer with learned positions."""
    spec, ids = recipe.encoder, _ids()
    assert isinstance(spec, parts.Transformer)
    cut = _within(ids, recipe.text.max_tokens)
    tokens = _embed(recipe, cut, vocabulary_size, vectors)
    keep = ops.not_equal(cut, 0)
    size = tokens.shape[-1]
    tokens = AddPositions(recipe.text.max_tokens, name="positions")(tokens)
    for number in range(1, spec.layers + 1):
        tokens = _transformer_block(spec, tokens, keep, size, f"block_{number}")
    tokens = keras.layers.LayerNormalization(name="norm")(tokens)
    return _model(ids, pool(spec.pooling, tokens, keep))


def _transformer_block(
    spec: parts.Transformer, tokens: Any, keep: Any, size: int, name: str
) -> Any:
    """Pre-norm (Xiong et al. 2020): it trains without warm-up tricks."""
    attention = keras.layers.MultiHeadAttention(
        spec.heads, size // spec.heads, dropout=spec.dropout, name=f"{name}_attention"
    )
    normed = keras.layers.LayerNormalization(name=f"{name}_norm_1")(tokens)
    # One row for all queries: what a padded place attends to does not matter, it is not pooled.
    attended = attention(normed, normed, attention_mask=ops.expand_dims(keep, 1))
    drop_by_step(attention)  # its dropout is there once it is built
    tokens = tokens + StepDropout(spec.dropout)(attended)
    normed = keras.layers.LayerNormalization(name=f"{name}_norm_2")(tokens)
    wide = keras.layers.Dense(spec.feed_forward, "gelu", name=f"{name}_wide")(normed)
    narrow = keras.layers.Dense(size, name=f"{name}_narrow")(wide)
    # Dropout before each sum, so that the way along the residuals is never cut.
    return tokens + StepDropout(spec.dropout)(narrow)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AddPositions(keras.layers.Layer):
    """Adds a learned vector for each place in the sentence."""

    def __init__(self, longest: int, **kwargs: Any):
        """`longest` is the greatest number of tokens."""
        super().__init__(**kwargs)
        self.longest = longest
        self.supports_masking = True

    def build(self, shape):
        """Makes the vectors, [longest, d]."""
        self.vectors = self.add_weight(
            shape=(self.longest, shape[-1]), initializer="uniform", name="positions"
        )

    def call(self, tokens):
        """Tokens [b, t, d] with t ≤ longest → the same."""
        return tokens + self.vectors[: ops.shape(tokens)[1]]

    def get_config(self):
        return {**super().get_config(), "longest": self.longest}


def saved_model(recipe: Recipe, *, vocabulary_size: int, vectors: np.ndarray | None) -> keras.Model:
    """A given SavedModel that takes text, unchanged."""
    spec = recipe.encoder
    assert isinstance(spec, parts.SavedModel)
    text = keras.Input((), dtype="string", name="text")
    layer = SavedModelVectors(
        resolve_path(spec.path), spec.dimensions, spec.signature, spec.output, name="saved_model"
    )
    return keras.Model(text, layer(text), name="encoder")
