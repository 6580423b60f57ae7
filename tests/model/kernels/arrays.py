"""Random weights as a bundle keeps them for C++, and the same encoders in plain NumPy, float64."""

from __future__ import annotations

import json

import numpy as np

VOCABULARY, LONGEST = 50, 24


def about(**values) -> np.ndarray:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


def lstm_arrays(seed: int, *, size: int, units: list[int], pooling: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {
        "about": about(kind="lstm", units=units, pooling=pooling),
        "embeddings": rng.normal(0, 1, (VOCABULARY, size)).astype(np.float32),
    }
    for layer, count in enumerate(units):
        for side in ("forward", "backward"):
            name = f"layer_{layer}_{side}"
            arrays[f"{name}_kernel"] = rng.normal(0, 0.5, (size, 4 * count)).astype(np.float32)
            arrays[f"{name}_recurrent"] = rng.normal(0, 0.5, (count, 4 * count)).astype(np.float32)
            arrays[f"{name}_bias"] = rng.normal(0, 0.5, 4 * count).astype(np.float32)
        size = 2 * count
    return arrays


def bert_arrays(
    seed: int, *, size: int, heads: int, layers: int, inner: int, pooling: str = "mean"
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    arrays = {
        "about": about(kind="bert", heads=heads, layers=layers, pooling=pooling, epsilon=1e-12),
        "embeddings": random(VOCABULARY, size),
        "positions": random(LONGEST, size),
        "scale": 1 + random(size),
        "offset": random(size),
    }
    shapes = {"qkv": (size, 3 * size), "attended": (size, size), "wide": (size, inner)}
    for layer in range(layers):
        for part, (rows, columns) in (shapes | {"narrow": (inner, size)}).items():
            arrays[f"layer_{layer}_{part}_kernel"] = random(rows, columns)
            arrays[f"layer_{layer}_{part}_bias"] = random(columns)
        for part in ("first", "second"):
            arrays[f"layer_{layer}_{part}_scale"] = 1 + random(size)
            arrays[f"layer_{layer}_{part}_offset"] = random(size)
    return arrays


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(inputs, kernel, recurrent, bias):
    units = len(recurrent)
    state, memory, states = np.zeros(units), np.zeros(units), []
    for x in inputs:
        i, f, c, o = np.split(x @ kernel + state @ recurrent + bias, 4)
        memory = _sigmoid(f) * memory + _sigmoid(i) * np.tanh(c)
        state = _sigmoid(o) * np.tanh(memory)
        states.append(state)
    return np.array(states)


def plain_lstm(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """One sentence's vector."""
    description = json.loads(bytes(arrays["about"]))
    x = arrays["embeddings"][ids].astype(np.float64)
    for layer in range(len(description["units"])):
        weights = [
            [arrays[f"layer_{layer}_{side}_{part}"].astype(np.float64) for part in
             ("kernel", "recurrent", "bias")] for side in ("forward", "backward")
        ]  # fmt: skip
        ahead, back = _lstm(x, *weights[0]), _lstm(x[::-1], *weights[1])
        last = np.concatenate([ahead[-1], back[-1]])
        x = np.concatenate([ahead, back[::-1]], axis=1)
    pooled = {"last": [last], "mean": [x.mean(0)], "max": [x.max(0)]}
    pooled["mean_max"] = pooled["mean"] + pooled["max"]
    return np.concatenate(pooled[description["pooling"]])


def _norm(x, scale, offset):
    apart = x - x.mean(-1, keepdims=True)
    return apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-12) * scale + offset


def plain_bert(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """One sentence's vector."""
    description = json.loads(bytes(arrays["about"]))
    heads = description["heads"]
    a = {name: value.astype(np.float64) for name, value in arrays.items() if name != "about"}
    x = _norm(a["embeddings"][ids] + a["positions"][: len(ids)], a["scale"], a["offset"])
    for layer in range(description["layers"]):
        w = {name.removeprefix(f"layer_{layer}_"): value for name, value in a.items()}
        q, k, v = np.split(x @ w["qkv_kernel"] + w["qkv_bias"], 3, axis=1)
        q, k, v = (np.stack(np.split(part, heads, axis=1)) for part in (q, k, v))
        weights = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
        attended = np.concatenate(list(weights / weights.sum(-1, keepdims=True) @ v), axis=1)
        x = x + attended @ w["attended_kernel"] + w["attended_bias"]
        x = _norm(x, w["first_scale"], w["first_offset"])
        wide = x @ w["wide_kernel"] + w["wide_bias"]
        wide = wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
        x = _norm(x + wide @ w["narrow_kernel"] + w["narrow_bias"],
                  w["second_scale"], w["second_offset"])  # fmt: skip
    return x.mean(0) if description["pooling"] == "mean" else x[0]
