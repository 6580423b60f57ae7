"""Encoders in C++ from the arrays that a bundle keeps for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.kernels.library import NativeEncoder, open_library

ABOUT = "about"
EXACT_ONLY = ("cnn",)  # kinds whose products are all made before: fixed point would save nothing
STEPS = "steps"  # of the inputs of an encoder's products, float32 [products], where in fixed point
MOST_STEPS = 8191
MARGIN = 1.25  # by which a product's input may be greater than any that was seen before it is cut
PRODUCTS = 4  # of a layer of a BERT or Transformer
FLOAT32, INT16 = "float32", "int16"
MAX_TABLE_BYTES = 256 << 20
POOLING = {"last": 0, "cls": 0, "mean": 1, "max": 2, "mean_max": 3}
TOKENS = {"bert": 2_048, "transformer": 2_048, "lstm": 8_192, "universal": 2_048, "cnn": 8_192}
# The Dense layers of the Universal Sentence Encoder's last network, as they are worked through.
RESIDUAL = ("dense_0", "skip_1", "dense_1", "dense_2", "skip_3", "dense_3")


class PackedEncoder:
    """Encodes sentences of any lengths without padding.

    Attributes:
        dimensions: length d of a vector.
        tokens: how many tokens a call should have, about.
    """

    def __init__(
        self,
        native: NativeEncoder,
        *,
        vocabulary: int,
        longest: int | None,
        tokens: int,
        unit: bool = False,
        products: int = 0,
    ):
        """Takes the encoder, what ids and lengths it bears, and whether vectors get length 1."""
        self._products = products
        self.dimensions = native.dimensions
        self.tokens = tokens
        self._native = native
        self._vocabulary, self._longest, self._unit = vocabulary, longest, unit

    def check(self, values: np.ndarray, lengths: np.ndarray) -> None:
        """Makes sure that ids [m] and lengths [n] are such as the encoder can take.

        Raises:
            ValueError: one is not; the library itself would read beyond its arrays.
        """
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < 0 or high >= self._vocabulary:
            raise ValueError(f"ids from {low} to {high}; the encoder has {self._vocabulary}")
        if int(lengths.sum()) != len(values) or lengths.min(initial=1) < 1:
            raise ValueError("lengths that do not fit the ids, or a sentence without any")
        if self._longest is not None and lengths.max(initial=0) > self._longest:
            raise ValueError(f"{lengths.max()} tokens; the encoder has {self._longest} positions")

    def encode(self, values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Ids of many sentences in a row [m], where some start and their lengths [n] → [n, d].

        Whoever calls it has had them checked.
        """
        vectors = self._native.encode(values, starts, lengths)
        if self._unit:
            vectors /= np.sqrt(np.maximum((vectors * vectors).sum(axis=1, keepdims=True), 1e-12))
        return vectors

    def seen(self, values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The greatest sizes of the products' inputs over some sentences, float32 [products]."""
        greatest = np.zeros(self._products, np.float32)
        self._native.encode(values, starts, lengths, greatest)
        return greatest


def about(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the arrays are: `kind`, `precision` and what the kind needs."""
    return {"precision": FLOAT32, **json.loads(bytes(arrays[ABOUT]))}


def with_precision(
    arrays: Mapping[str, np.ndarray], precision: str, seen: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The same arrays, to be computed with in another precision.

    A BERT's fixed point needs the greatest inputs of its products: see `PackedEncoder.seen`.
    """
    description = json.dumps(about(arrays) | {"precision": precision}).encode()
    changed = {name: arrays[name] for name in arrays if name != STEPS}
    if seen is not None:
        changed[STEPS] = np.maximum(seen, 1e-6) * np.float32(MARGIN / MOST_STEPS)
    return changed | {ABOUT: np.frombuffer(description, np.uint8)}


@dataclass(frozen=True)
class Layout:
    """How `kernels.cpp` takes an encoder.

    Attributes:
        kind: its number there.
        numbers: its sizes, in the order that the kind's header gives.
        arrays: its weights, likewise.
        dimensions: length of a vector.
        vocabulary: ids from 0 below this.
        longest: tokens of a sentence at most; None for any number.
        products: how many inputs fixed point needs a step for.
    """

    kind: int
    numbers: Sequence[int]
    arrays: Sequence[np.ndarray]
    dimensions: int
    vocabulary: int
    longest: int | None = None
    products: int = 0


def open_encoder(
    arrays: Mapping[str, np.ndarray], *, level: int | None = None
) -> PackedEncoder | None:
    """The encoder of `model.bundle.packed_weights`' arrays; None where it cannot run here."""
    library = open_library()
    if library is None:
        return None
    facts = about(arrays)
    layout = LAYOUTS[facts["kind"]](facts, arrays)
    native = NativeEncoder(
        library,
        layout.kind,
        layout.numbers,
        layout.arrays,
        dimensions=layout.dimensions,
        level=level,
    )
    return PackedEncoder(
        native,
        vocabulary=layout.vocabulary,
        longest=layout.longest,
        tokens=TOKENS[facts["kind"]],
        unit=facts.get("normalize", False),
        products=layout.products,
    )


def _steps(facts: dict[str, Any], arrays: Mapping[str, np.ndarray], products: int) -> np.ndarray:
    return arrays[STEPS] if facts["precision"] == INT16 else np.zeros(products)


def _bert(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Layout:
    words, positions = arrays["embeddings"], arrays["positions"]
    size, layers = words.shape[1], facts["layers"]
    inner = arrays["layer_0_wide_kernel"].shape[1]
    pooling, fixed = POOLING[facts["pooling"]], int(facts["precision"] == INT16)
    numbers = [size, facts["heads"], layers, inner, len(words), len(positions), pooling, fixed]
    numbers.append(int(facts["kind"] == "transformer"))  # normalises before each part
    ordered = [np.array([facts["epsilon"]]), words, positions, arrays["scale"], arrays["offset"]]
    products = PRODUCTS * layers
    ordered.append(_steps(facts, arrays, products))
    names = [
        f"{part}_{weight}"
        for part, weights in (
            ("qkv", ("kernel", "bias")),
            ("attended", ("kernel", "bias")),
            ("first", ("scale", "offset")),
            ("wide", ("kernel", "bias")),
            ("narrow", ("kernel", "bias")),
            ("second", ("scale", "offset")),
        )
        for weight in weights
    ]
    ordered += [arrays[f"layer_{layer}_{name}"] for layer in range(layers) for name in names]
    dimensions = size * _parts(pooling)
    return Layout(0, numbers, ordered, dimensions, len(words), len(positions), products)


def _parts(pooling: int) -> int:
    """How many vectors a pooling puts one behind the other."""
    return 2 if pooling == POOLING["mean_max"] else 1


def _lstm(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Layout:
    embeddings, units = arrays["embeddings"], facts["units"]
    fold = 2 * 4 * units[0] * 4 * len(embeddings) <= MAX_TABLE_BYTES
    pooling, fixed = POOLING[facts["pooling"]], int(facts["precision"] == INT16)
    numbers = [len(embeddings), embeddings.shape[1], len(units), pooling, int(fold), fixed, *units]
    names = [
        f"layer_{layer}_{side}_{weight}"
        for layer in range(len(units))
        for side in ("forward", "backward")
        for weight in ("kernel", "recurrent", "bias")
    ]
    dimensions = 2 * units[-1] * _parts(pooling)
    ordered = [embeddings, *(arrays[name] for name in names)]
    return Layout(1, numbers, ordered, dimensions, len(embeddings))


def _universal(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Layout:
    table, orders = arrays["table"], facts["orders"]
    rows, size = table.shape
    width, inner = arrays["project_bias"].size // len(orders), arrays["dense_0_kernel"].shape[1]
    products = 1 + 2 * len(orders) + 1 + len(RESIDUAL)
    fixed, changes = int(facts["precision"] == INT16), arrays["changes"]
    numbers = [size, width, len(orders), rows, arrays["scale"].size, len(changes), inner, fixed]
    ordered = [table, arrays["scale"], arrays["least"], arrays["places"], changes]
    ordered.append(_steps(facts, arrays, products))
    names = ["project_kernel", "project_bias", "project_norm_scale", "project_norm_offset"]
    for order in orders:
        for number in (1, 2):
            names += [f"ngrams_{order}_{number}_{weight}" for weight in ("kernel", "bias")]
    names += [f"sum_{weight}" for weight in ("scale", "offset", "kernel", "bias")]
    names += [f"{dense}_kernel" for dense in RESIDUAL]
    ordered += [arrays[name] for name in names]
    # Ids count from 1; 0 is padding, which packed sentences have none of.
    return Layout(2, [*numbers, *orders], ordered, size, rows + 1, products=products)


def _cnn(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Layout:
    embeddings, widths = arrays["embeddings"], facts["widths"]
    filters, pooling = arrays[f"conv_{widths[0]}_bias"].size, POOLING[facts["pooling"]]
    row = 4 * sum(widths) * -(-filters // 16) * 16  # bytes, with the filters that C++ adds
    fold = row * len(embeddings) <= MAX_TABLE_BYTES
    numbers = [len(embeddings), embeddings.shape[1], filters, len(widths), pooling, int(fold)]
    names = [f"conv_{width}_{weight}" for width in widths for weight in ("kernel", "bias")]
    dimensions = filters * len(widths) * _parts(pooling)
    ordered = [embeddings, *(arrays[name] for name in names)]
    return Layout(3, [*numbers, *widths], ordered, dimensions, len(embeddings))


LAYOUTS: dict[str, Callable[[dict[str, Any], Mapping[str, np.ndarray]], Layout]] = {
    "bert": _bert,
    "transformer": _bert,
    "lstm": _lstm,
    "cnn": _cnn,
    "universal": _universal,
}
