"""Fine-tuning: a network begins with the weights of a bundle, whose vocabulary may be another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from model.bundle import loading
from model.dataset.examples import Examples, read_vocabulary
from model.network.encoders import EMBEDDING
from model.network.siamese import Siamese, build_siamese
from model.network.universal_layers import QuantizedEmbedding
from model.recipe.reading import read_recipe
from model.recipe.recipe import Recipe
from transforms.errors import UserError
from transforms.storage import files
from transforms.text.token_ids import FIRST_ID

FIRST_ROW = 1  # the id of a table's first row; padding has none


def with_rows_of(folder: str, ids: np.ndarray | None) -> np.ndarray | None:
    """Ids whose rows are trained, with those that the training of a bundle has changed already.

    Args:
        folder: the bundle; only its weights are read.
        ids: of the training part, [n]; None where the encoder does not bring its own table, or
            where the table stays unchanged.
    """
    with files.local_copy(folder) as local:
        before = trained_rows(Path(local) / loading.WEIGHTS) + FIRST_ROW
    if not len(before):
        return ids
    return before if ids is None else np.union1d(ids, before).astype(np.int32)


def trained_rows(weights: Path) -> np.ndarray:
    """The rows of a `QuantizedEmbedding` that training has changed, [n]; none without a table.

    Raises:
        UserError: there are no weights.
    """
    if not weights.is_file():
        raise UserError(
            f"--init_from: the bundle holds no {weights.name}, as one that was imported; training "
            "can begin with bundles of twinbeam train"
        )
    places: list[np.ndarray] = []

    def look(name: str, found: Any) -> None:
        if "/quantized_embedding/" in name and getattr(found, "dtype", None) == np.int32:
            places.append(found[:])

    with h5py.File(weights) as file:
        file.visititems(look)
    return np.flatnonzero(places[0]) if places else np.zeros(0, np.int64)


def begin_with(folder: str, siamese: Siamese, recipe: Recipe, examples: Examples) -> str:
    """Gives the network the weights of a bundle; a line that says what was taken.

    The encoder must be of the bundle's kind and sizes. A dense head is taken where it is the same,
    and learned from scratch where it is not. Tokens that both vocabularies hold keep their vectors.

    Raises:
        UserError: no bundle, one that was changed, or one whose encoder is another.
    """
    with files.local_copy(folder) as local:
        manifest = loading.verify(local, name=folder)
        path = Path(local) / loading.RECIPE
        old_recipe = read_recipe(path.read_bytes(), source=f"{folder}/{loading.RECIPE}")
        weights = Path(local) / loading.WEIGHTS
        size = int(manifest["vocabulary_size"] or 0)
        if old_recipe.encoder_kind.trains_used_ids and size != examples.vocabulary_size:
            raise UserError(
                f"--init_from {folder}: its tokenizer has {size} ids, and that of the examples "
                f"{examples.vocabulary_size}; they must be the same one"
            )
        old = build_siamese(
            old_recipe, vocabulary_size=size, trained_ids=trained_rows(weights) + FIRST_ROW
        )
        old.network.load_weights(weights)
        rows = _rows(Path(local), recipe, examples)
    same = old_recipe.encoder.kind == recipe.encoder.kind
    encoder, head = siamese.encoder, siamese.comparison
    if not same or not _assign(old.encoder, encoder, rows):
        raise UserError(
            f"--init_from {folder}: its encoder is {_spelled(old_recipe)}, and the recipe's is "
            f"{_spelled(recipe)}; they must be of one kind and of the same sizes"
        )
    took = _assign(old.comparison, head, None) if head.weights else True
    tokens = f"{len(rows)} tokens of the vocabulary, " if rows is not None else ""
    kept = "the head as well" if took and head.weights else "no head"
    return f"weights from {folder}: {tokens}the encoder, {kept}"


def _spelled(recipe: Recipe) -> str:
    values = recipe.encoder.model_dump(exclude={"dropout"})
    size = f", embedding {recipe.embedding.dimensions}" if recipe.embedding else ""
    return ", ".join(f"{name} {value}" for name, value in values.items()) + size


def _rows(bundle: Path, recipe: Recipe, examples: Examples) -> dict[int, int] | None:
    """Row of the new embedding → row of the old one; None where there is no learned vocabulary.

    Padding and the unknown token are the same two rows everywhere.
    """
    asset = bundle / loading.SAVED_MODEL / "assets" / "vocabulary"
    if recipe.embedding is None or not asset.is_file():
        return None
    old = asset.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    places = {token: number for number, token in enumerate(old, start=FIRST_ID)}
    new = read_vocabulary(examples.folder)
    known = {number: places[t] for number, t in enumerate(new, start=FIRST_ID) if t in places}
    return {number: number for number in range(FIRST_ID)} | known


def _assign(source: Any, target: Any, rows: dict[int, int] | None) -> bool:
    """Copies weights from one model to another of the same shapes; whether they were."""
    tables = [_tables(model) for model in (source, target)]
    before, after = (
        _weights_beside(model, own) for model, own in zip((source, target), tables, strict=True)
    )
    pairs = list(zip(before, after, strict=False))
    if len(before) != len(after) or len(tables[0]) != len(tables[1]):
        return False
    if any(old.rows != new.rows for old, new in zip(*tables, strict=True)):
        return False
    values = []
    for old, new in pairs:
        value = old.numpy()
        if rows is not None and EMBEDDING in old.path.split("/"):
            if value.shape[1:] != tuple(new.shape[1:]):
                return False
            value = _mapped(value, new.numpy(), rows)
        if value.shape != tuple(new.shape):
            return False
        values.append(value)
    for (_, new), value in zip(pairs, values, strict=True):
        new.assign(value)
    for old, new in zip(*tables, strict=True):
        new.begin_with(old)
    return True


def _tables(model: Any) -> list[QuantizedEmbedding]:
    return [layer for layer in model.layers if isinstance(layer, QuantizedEmbedding)]


def _weights_beside(model: Any, tables: list[QuantizedEmbedding]) -> list[Any]:
    """All weights but those of such tables."""
    inside = {id(weight) for table in tables for weight in table.weights}
    return [weight for weight in model.weights if id(weight) not in inside]


def _mapped(old: np.ndarray, new: np.ndarray, rows: dict[int, int]) -> np.ndarray:
    """The new embedding with the old one's vectors where a token is known, [n, d]."""
    mapped = new.copy()
    mapped[list(rows)] = old[list(rows.values())]
    return mapped
