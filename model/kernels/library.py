"""The shared library of the encoders in C++, and whether it can be used here."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

NAME = "kernels"
INTERFACE = 3  # what kernels.cpp says it has
# Arrays of these types are handed over as they are, all others as float32.
RAW = {np.dtype(np.uint8): np.uint8, np.dtype(np.int32): np.int32}
WITHOUT = (
    "sentences are encoded by TensorFlow, at about half the speed: %s; on x86-64 with AVX2, "
    "`make setup` or `pip install` builds the library where a C++ compiler (g++) is found"
)


@functools.cache
def open_library() -> ctypes.CDLL | None:
    """The library; None where it was not built or the CPU lacks its instructions."""
    folder = Path(__file__).parent
    paths = [path for end in EXTENSION_SUFFIXES if (path := folder / f"{NAME}{end}").exists()]
    if not paths:
        logging.warning(WITHOUT, f"{folder / NAME} was not built")
        return None
    try:
        library = ctypes.CDLL(str(paths[0]))
    except OSError as error:
        logging.warning(WITHOUT, error)
        return None
    if getattr(library, "twinbeam_interface", int)() != INTERFACE:
        logging.warning(WITHOUT, f"{paths[0]} was built from other sources")
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.twinbeam_new.restype = pointer
    library.twinbeam_new.argtypes = [number, number, pointer, pointer]
    library.twinbeam_encode.argtypes = [pointer] * 4 + [number, pointer, pointer]
    library.twinbeam_free.argtypes = [pointer]
    if library.twinbeam_level() == 0:
        logging.warning(WITHOUT, "this CPU has no AVX2 with FMA")
        return None
    return library


class NativeEncoder:
    """An encoder that lives in the library. Any number of threads may call it."""

    def __init__(
        self,
        library: ctypes.CDLL,
        kind: int,
        numbers: Sequence[int],
        arrays: Sequence[np.ndarray],
        *,
        dimensions: int,
        level: int | None = None,
    ):
        """Takes what `kernels.cpp` says of the kind; `level` is the CPU's best if not given."""
        self.dimensions = dimensions
        self._library = library
        kept = [np.ascontiguousarray(array, RAW.get(array.dtype, np.float32)) for array in arrays]
        pointers = (ctypes.c_void_p * len(kept))(*(array.ctypes.data for array in kept))
        given = np.array(numbers, np.int32)
        at = library.twinbeam_level() if level is None else level
        self._encoder = library.twinbeam_new(at, kind, given.ctypes.data, pointers)
        if not self._encoder:
            raise MemoryError("no memory for the encoder's weights")

    def encode(
        self,
        values: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        seen: np.ndarray | None = None,
    ) -> np.ndarray:
        """Ids of many sentences in a row [m], where each starts and how long it is [n] → [n, d].

        The ids must lie in the vocabulary and each length be at least 1: nothing checks them.
        `seen`, float32 [products], is raised to the greatest sizes of the products' inputs.
        """
        values = np.ascontiguousarray(values, np.int32)
        starts = np.ascontiguousarray(starts, np.int64)
        lengths = np.ascontiguousarray(lengths, np.int32)
        vectors = np.empty((len(starts), self.dimensions), np.float32)
        data = (array.ctypes.data for array in (values, starts, lengths))
        noted = None if seen is None else seen.ctypes.data
        given = (*data, len(starts), vectors.ctypes.data, noted)
        if self._library.twinbeam_encode(self._encoder, *given):
            raise MemoryError(f"no memory to encode {int(lengths.sum())} tokens at once")
        return vectors

    def __del__(self) -> None:
        if getattr(self, "_encoder", None):
            self._library.twinbeam_free(self._encoder)
