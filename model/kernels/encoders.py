"""Encoders in C++ from the arrays that a bundle keeps for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from model.kernels.library import NativeEncoder, open_library

ABOUT = "about"
STEPS = "steps"  # of the inputs of a BERT's products, float32 [products], where in fixed point
MOST_STEPS = 8191
MARGIN = 1.25  # by which a product's input may be greater than any that was seen before it is cut
PRODUCTS = 4  # of a BERT's layer
FLOAT32, INT16 = "float32", "int16"
MAX_TABLE_BYTES = 256 << 20
POOLING = {"last": 0, "mean": 1, "max": 2, "mean_max": 3}
TOKENS = {"bert": 2_048, "lstm": 8_192}


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


def open_encoder(
    arrays: Mapping[str, np.ndarray], *, level: int | None = None
) -> PackedEncoder | None:
    """The encoder of `model.bundle.packed_weights`' arrays; None where it cannot run here."""
    library = open_library()
    if library is None:
        return None
    description = about(arrays)
    build = _bert if description["kind"] == "bert" else _lstm
    kind, numbers, ordered, dimensions, longest = build(description, arrays)
    native = NativeEncoder(library, kind, numbers, ordered, dimensions=dimensions, level=level)
    return PackedEncoder(
        native,
        vocabulary=len(arrays["embeddings"]),
        longest=longest,
        tokens=TOKENS[description["kind"]],
        unit=description.get("normalize", False),
        products=PRODUCTS * description.get("layers", 0),
    )


def _bert(description: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple:
    words, positions = arrays["embeddings"], arrays["positions"]
    size, layers = words.shape[1], description["layers"]
    inner = arrays["layer_0_wide_kernel"].shape[1]
    mean = int(description["pooling"] == "mean")
    fixed = description["precision"] == INT16
    steps = arrays[STEPS] if fixed else np.zeros(PRODUCTS * layers)
    numbers = [
        size,
        description["heads"],
        layers,
        inner,
        len(words),
        len(positions),
        mean,
        int(fixed),
    ]
    ordered = [
        np.array([description["epsilon"]]),
        words,
        positions,
        arrays["scale"],
        arrays["offset"],
    ]
    ordered.append(steps)
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
    return 0, numbers, ordered, size, len(positions)


def _lstm(description: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple:
    embeddings, units = arrays["embeddings"], description["units"]
    fold = 2 * 4 * units[0] * 4 * len(embeddings) <= MAX_TABLE_BYTES
    pooling, fixed = POOLING[description["pooling"]], int(description["precision"] == INT16)
    numbers = [len(embeddings), embeddings.shape[1], len(units), pooling, int(fold), fixed, *units]
    names = [
        f"layer_{layer}_{side}_{weight}"
        for layer in range(len(units))
        for side in ("forward", "backward")
        for weight in ("kernel", "recurrent", "bias")
    ]
    dimensions = 2 * units[-1] * (2 if pooling == 3 else 1)
    return 1, numbers, [embeddings, *(arrays[name] for name in names)], dimensions, None
