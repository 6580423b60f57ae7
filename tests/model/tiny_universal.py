"""Universal Sentence Encoders of full width over a small table, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROWS = 4  # of each of the 17 chunks
SMALL = 17 * ROWS + 1  # ids, padding included


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays in the layout of the package's weights.npz, with few rows in the table."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32)

    weights = {f"q{n}": rng.integers(0, 64, (ROWS, 512), np.uint8) for n in range(1, 18)}
    weights |= {"scale": rng.uniform(0.1, 0.6, 17).astype(np.float32)}
    weights |= {"lo": rng.uniform(-20, -4, 17).astype(np.float32)}
    for order in (2, 3, 5):
        weights |= {f"proj{order}": normal(512, 256), f"proj_b{order}": normal(256)}
        weights |= {f"ln_g{order}": normal(256) + 1, f"ln_b{order}": normal(256)}
        for number in (1, 2):
            weights[f"w{number}_{order}"] = normal(order * 256, 256)
            weights[f"b{number}_{order}"] = normal(256)
    weights |= {"ln_g": normal(1280) + 1, "ln_b": normal(1280)}
    weights |= {"cnn_W": normal(1280, 512), "cnn_b": normal(512), "eps": np.float64(1e-12)}
    weights |= {"d0": normal(512, 320), "p1": normal(512, 320), "d1": normal(320, 320)}
    return weights | {"d2": normal(320, 512), "p3": normal(320, 512), "d3": normal(512, 512)}


def write_weights(folder: Path) -> Path:
    """Such weights in a folder, which may be an encoder's preset."""
    np.savez(folder / "weights.npz", **random_weights())
    return folder
