"""Readers of word vectors: only the words asked for are kept, the files may be large.

| file | layout |
| --- | --- |
| `.bin`, `.bin.gz` | word2vec binary |
| a folder | one `*_emb.npy` [n, d] and one `*_index.parquet` with the word of each row |
| anything else, also `.gz` | text, a word and its numbers a line: GloVe, or word2vec with a first line `count dimensions` |
"""  # noqa: E501

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np

from transforms.errors import UserError

WordVectors = dict[str, np.ndarray]


def read_word_vectors(path: str, words: Collection[str], dimensions: int) -> WordVectors:
    """Vectors, float32 [dimensions], of those of the words that the file knows.

    Raises:
        UserError: no such file, other dimensions, or a broken file; with the line of a text.
    """
    if not Path(path).exists():
        raise UserError(
            f"embedding.vectors: {path} does not exist; expected word vectors in GloVe or "
            "word2vec format, or 'corpus' to train them on the training part"
        )
    words = frozenset(words)
    if Path(path).is_dir():
        return _read_folder(Path(path), words, dimensions)
    if path.endswith((".bin", ".bin.gz")):
        return _read_binary(path, words, dimensions)
    return _read_text(path, words, dimensions)


def _read_text(path: str, words: frozenset[str], dimensions: int) -> WordVectors:
    found: WordVectors = {}
    announced, number = None, 0
    for number, line in enumerate(_lines(path), start=1):
        if number == 1 and (header := _header(line)):
            announced, width = header
            _check_dimensions(width, dimensions, f"{path}, line 1")
            continue
        if number <= 2:  # a longer vector would look like a word with spaces
            _check_dimensions(_width(line), dimensions, f"{path}, line {number}")
        word, numbers = _split(line, dimensions, f"{path}, line {number}")
        if word in words and word not in found:
            found[word] = _parse(numbers, f"{path}, line {number}")
    if number == 0:
        raise UserError(f"{path} is empty; expected a word and {dimensions} numbers a line")
    if announced is not None and number - 1 != announced:
        raise UserError(
            f"{path} is cut: line 1 announces {announced} words, and line {number} is the last"
        )
    return found


def _lines(path: str) -> Iterator[str]:
    number = 0
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        try:
            for number, line in enumerate(file, start=1):  # noqa: B007 (reported in the error)
                yield line.decode(errors="replace").rstrip("\r\n")
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(f"{path} is cut or damaged after line {number}: {error}") from None


def _header(line: str) -> tuple[int, int] | None:
    """Count and dimensions, where the line is nothing but these."""
    fields = line.split()
    if len(fields) == 2 and all(field.isdecimal() for field in fields):
        return int(fields[0]), int(fields[1])
    return None


def _split(line: str, dimensions: int, location: str) -> tuple[str, list[str]]:
    # From the right: GloVe 840B has words with spaces in them.
    word, *numbers = line.rstrip(" ").rsplit(" ", dimensions)
    if len(numbers) < dimensions:
        raise UserError(
            f"{location}: expected a word and {dimensions} numbers (embedding.dimensions), "
            f"received {len(numbers)}; the file has other dimensions or is cut"
        )
    return word, numbers


def _width(line: str) -> int:
    """How many numbers end the line, its first field left out."""
    fields = line.rstrip(" ").split(" ")[1:]
    return len(list(takewhile(_is_number, reversed(fields))))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(numbers: list[str], location: str) -> np.ndarray:
    try:
        vector = np.array(numbers, np.float32)
    except ValueError as error:
        raise UserError(f"{location}: expected numbers ({error})") from None
    if not np.isfinite(vector).all():
        raise UserError(f"{location}: expected finite numbers, received {vector.tolist()}")
    return vector


def _check_dimensions(received: int, expected: int, location: str) -> None:
    if received != expected:
        raise UserError(
            f"{location}: vectors of {received} dimensions; the recipe's embedding.dimensions is "
            f"{expected}; make them the same"
        )


def _read_binary(path: str, words: frozenset[str], dimensions: int) -> WordVectors:
    from gensim.models import KeyedVectors

    try:
        vectors = KeyedVectors.load_word2vec_format(path, binary=True, unicode_errors="replace")
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise UserError(
            f"{path} is cut, or not in word2vec's binary format ({error}); text belongs in a "
            "file without .bin in its name"
        ) from None
    _check_dimensions(vectors.vector_size, dimensions, path)
    return {word: vectors[word].astype(np.float32) for word in words if word in vectors}


def _read_folder(folder: Path, words: frozenset[str], dimensions: int) -> WordVectors:
    import pyarrow.parquet as pq

    matrices, indices = (sorted(folder.glob(f"*{end}")) for end in ("_emb.npy", "_index.parquet"))
    if len(matrices) != 1 or len(indices) != 1:
        raise UserError(
            f"embedding.vectors: the folder {folder} must hold one *_emb.npy and one "
            f"*_index.parquet; found {len(matrices)} and {len(indices)}"
        )
    try:
        matrix = np.load(matrices[0], mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise UserError(f"{matrices[0]} is cut or no NumPy matrix: {error}") from None
    index = pq.read_table(indices[0]).column(0).to_pylist()
    _check_dimensions(matrix.shape[-1], dimensions, str(matrices[0]))
    if len(index) != len(matrix):
        raise UserError(
            f"{folder}: {len(matrix)} vectors, but {len(index)} words; take complete files"
        )
    return {
        word: np.array(matrix[row], np.float32) for row, word in enumerate(index) if word in words
    }
