"""Random weights as a bundle keeps them for C++, and the same encoders in plain NumPy, float64."""

from __future__ import annotations

import json
import math

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


def transformer_arrays(seed: int, *, pooling: str, **sizes: int) -> dict[str, np.ndarray]:
    arrays = bert_arrays(seed, **sizes)
    description = {"heads": sizes["heads"], "layers": sizes["layers"], "epsilon": 1e-3}
    return arrays | {"about": about(kind="transformer", pooling=pooling, **description)}


def cnn_arrays(
    seed: int, *, size: int, filters: int, widths: list[int], pooling: str
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {
        "about": about(kind="cnn", widths=widths, pooling=pooling),
        "embeddings": rng.normal(0, 1, (VOCABULARY, size)).astype(np.float32),
    }
    for width in widths:
        kernel = rng.normal(0, 0.3, (width * size, filters)).astype(np.float32)
        arrays[f"conv_{width}_kernel"] = kernel
        arrays[f"conv_{width}_bias"] = rng.normal(0, 0.3, filters).astype(np.float32)
    return arrays


def universal_arrays(
    seed: int, *, size: int, width: int, inner: int, orders: list[int], changed: int
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32)

    rows, chunks, features = VOCABULARY - 1, 7, size + width * len(orders)
    places = np.zeros(rows, np.int32)
    places[rng.permutation(rows)[:changed]] = 1 + np.arange(changed)
    arrays = {
        "about": about(kind="universal", orders=orders, normalize=True),
        "table": rng.integers(0, 256, (rows, size)).astype(np.uint8),
        "scale": rng.uniform(0.001, 0.01, chunks).astype(np.float32),
        "least": rng.uniform(-1, 0, chunks).astype(np.float32),
        "places": places,
        "changes": rng.normal(0, 0.3, (changed, size)).astype(np.float32),
    }
    kernels = {"project": (size, width * len(orders)), "sum": (features, size)}
    for order in orders:
        for number in (1, 2):
            kernels[f"ngrams_{order}_{number}"] = (order * width, width)
    for name, shape in kernels.items():
        arrays[f"{name}_kernel"], arrays[f"{name}_bias"] = random(*shape), random(shape[1])
    for name, length in (("project_norm", width * len(orders)), ("sum", features)):
        arrays[f"{name}_scale"], arrays[f"{name}_offset"] = 1 + random(length), random(length)
    dense = {"dense_0": (size, inner), "skip_1": (size, inner), "dense_1": (inner, inner)}
    dense |= {"dense_2": (inner, size), "skip_3": (inner, size), "dense_3": (size, size)}
    return arrays | {f"{name}_kernel": random(*shape) for name, shape in dense.items()}


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


def _norm(x, scale, offset, epsilon=1e-12):
    apart = x - x.mean(-1, keepdims=True)
    return apart / np.sqrt((apart**2).mean(-1, keepdims=True) + epsilon) * scale + offset


def _attended(x, w, heads):
    q, k, v = np.split(x @ w["qkv_kernel"] + w["qkv_bias"], 3, axis=1)
    q, k, v = (np.stack(np.split(part, heads, axis=1)) for part in (q, k, v))
    weights = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]))
    attended = np.concatenate(list(weights / weights.sum(-1, keepdims=True) @ v), axis=1)
    return attended @ w["attended_kernel"] + w["attended_bias"]


def _pooled(x, how):
    found = {"cls": [x[0]], "mean": [x.mean(0)], "max": [x.max(0)]}
    found["mean_max"] = found["mean"] + found["max"]
    return np.concatenate(found[how])


def plain_transformer(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """One sentence's vector; normalised before each part, with the GELU of the error function."""
    description = json.loads(bytes(arrays["about"]))
    epsilon = description["epsilon"]
    a = {name: value.astype(np.float64) for name, value in arrays.items() if name != "about"}
    x = a["embeddings"][ids] + a["positions"][: len(ids)]
    error = np.vectorize(math.erf)
    for layer in range(description["layers"]):
        w = {name.removeprefix(f"layer_{layer}_"): value for name, value in a.items()}
        normed = _norm(x, w["first_scale"], w["first_offset"], epsilon)
        x = x + _attended(normed, w, description["heads"])
        normed = _norm(x, w["second_scale"], w["second_offset"], epsilon)
        wide = normed @ w["wide_kernel"] + w["wide_bias"]
        wide = wide / 2 * (1 + error(wide / np.sqrt(2)))
        x = x + wide @ w["narrow_kernel"] + w["narrow_bias"]
    return _pooled(_norm(x, a["scale"], a["offset"], epsilon), description["pooling"])


def plain_cnn(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """One sentence's vector; Keras pads an even width by one more on the right."""
    description = json.loads(bytes(arrays["about"]))
    x = arrays["embeddings"][ids].astype(np.float64)
    found = []
    for width in description["widths"]:
        kernel = arrays[f"conv_{width}_kernel"].reshape(width, x.shape[1], -1)
        padded = np.pad(x, [((width - 1) // 2, width // 2), (0, 0)])
        windows = np.stack([padded[at : at + width] for at in range(len(ids))])
        heard = np.einsum("twd,wdf->tf", windows, kernel) + arrays[f"conv_{width}_bias"]
        found.append(np.maximum(heard, 0))
    return _pooled(np.concatenate(found, axis=1), description["pooling"])


def plain_bert(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """One sentence's vector."""
    description = json.loads(bytes(arrays["about"]))
    heads = description["heads"]
    a = {name: value.astype(np.float64) for name, value in arrays.items() if name != "about"}
    x = _norm(a["embeddings"][ids] + a["positions"][: len(ids)], a["scale"], a["offset"])
    for layer in range(description["layers"]):
        w = {name.removeprefix(f"layer_{layer}_"): value for name, value in a.items()}
        x = x + _attended(x, w, heads)
        x = _norm(x, w["first_scale"], w["first_offset"])
        wide = x @ w["wide_kernel"] + w["wide_bias"]
        wide = wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
        x = _norm(x + wide @ w["narrow_kernel"] + w["narrow_bias"],
                  w["second_scale"], w["second_offset"])  # fmt: skip
    return _pooled(x, description["pooling"])


def plain_universal(arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """One sentence's vector; ids from 1."""
    orders = json.loads(bytes(arrays["about"]))["orders"]
    a = {name: value.astype(np.float64) for name, value in arrays.items() if name != "about"}
    rows = ids - 1
    chunks = rows % len(a["scale"])
    tokens = a["table"][rows] * a["scale"][chunks, None] + a["least"][chunks, None]
    changes = np.concatenate([np.zeros((1, tokens.shape[1])), a["changes"]])
    tokens = tokens + changes[arrays["places"][rows]]
    wide = tokens @ a["project_kernel"] + a["project_bias"]
    wide = _norm(wide, a["project_norm_scale"], a["project_norm_offset"])
    parts = [tokens]
    for branch, order in zip(np.split(wide, len(orders), axis=1), orders, strict=True):
        left, width = (order - 1) // 2, branch.shape[1]
        for number in (1, 2):
            name = f"ngrams_{order}_{number}"
            kernel = a[f"{name}_kernel"].reshape(order, width, width)
            padded = np.pad(branch, [(left, order - 1 - left), (0, 0)])
            heard = a[f"{name}_bias"] + sum(
                padded[place : place + len(ids)] @ kernel[place] for place in range(order)
            )
            branch = branch + np.maximum(heard, 0)
        parts.append(branch)
    normed = _norm(np.concatenate(parts, axis=1), a["sum_scale"], a["sum_offset"])
    x = (normed @ a["sum_kernel"] + a["sum_bias"]).sum(0) / np.sqrt(len(ids))
    first = np.maximum(x @ a["dense_0_kernel"], 0)
    second = np.maximum(x @ a["skip_1_kernel"] + first @ a["dense_1_kernel"], 0)
    third = np.maximum(second @ a["dense_2_kernel"], 0)
    vector = np.tanh(second @ a["skip_3_kernel"] + third @ a["dense_3_kernel"])
    return vector / np.linalg.norm(vector)
