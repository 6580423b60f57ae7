"""What is read and written again: types at their extremes, compared by DuckDB."""
# ruff: noqa: E501 (tables)

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.scoring_kit import pairs, write
from transforms.accounts.claims import Claim
from transforms.accounts.shard_writer import ShardWriter
from transforms.input.read_shards import ShardReader
from transforms.input.shards import plan_shards
from transforms.pairs import PairColumns


def integers(bits: int) -> dict[str, pa.Array]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return {
        f"int{bits}": pa.array([low, high, None], f"int{bits}"),
        f"uint{bits}": pa.array([0, 2**bits - 1, None], f"uint{bits}"),
    }


def decimals(width: int, digits: int, scale: int) -> pa.Array:
    least, most = (Decimal(f"{sign}{'9' * digits}E-{scale}") for sign in ("-", ""))
    return pa.array([least, most, None], (pa.decimal128, pa.decimal256)[width](digits, scale))


def floats(kind: type, payload: int) -> pa.Array:
    bits = np.dtype(kind).itemsize * 8
    nan = np.array([payload], f"uint{bits}").view(kind)[0]
    return pa.array(
        np.array([nan, -0.0, np.finfo(kind).smallest_subnormal], kind), from_pandas=False
    )


JSON, UUID = pa.json_(), pa.uuid()
TYPES: dict[str, pa.Array] = {
    **{name: array for bits in (8, 16, 32, 64) for name, array in integers(bits).items()},
    "float16": pa.array(np.array([-0.0, 65504, 6e-8], np.float16)),
    "float32": floats(np.float32, 0x7FC0_1234),
    "float64": floats(np.float64, 0x7FF8_0000_0000_1234),
    "decimal 9": decimals(0, 9, 2),
    "decimal 18": decimals(0, 18, 18),
    "decimal 38": decimals(0, 38, 10),
    "boolean": pa.array([True, False, None]),
    "string": pa.array(["", "a\0b \U0010ffff", None]),
    "large_string": pa.array(["", "é" * 9000, None], pa.large_string()),
    "string_view": pa.array(["", "a\0b \U0010ffff", None], pa.string_view()),
    "binary": pa.array([b"", b"\xff\x00", None]),
    "binary_view": pa.array([b"", b"\xff\x00" * 9, None], pa.binary_view()),
    "fixed binary": pa.array([b"\0\0", b"\xff\xff", None], pa.binary(2)),
    "dictionary": pa.array(["a", "b", None]).dictionary_encode(),
    "date": pa.array([date(1, 1, 1), date(9999, 12, 31), None]),
    "time ms": pa.array([0, 86_399_999, None], pa.time32("ms")),
    "time us": pa.array([0, 86_399_999_999, None], pa.time64("us")),
    "timestamp ms": pa.array([datetime(1, 1, 1), datetime(9999, 12, 31), None], pa.timestamp("ms")),
    "timestamp us": pa.array([datetime(1, 1, 1), datetime(9999, 12, 31), None], pa.timestamp("us")),
    "timestamp ns": pa.array([-(2**63) + 2, 2**63 - 1, None], pa.timestamp("ns")),
    "timestamp UTC": pa.array([0, -1, None], pa.timestamp("us", "UTC")),
    "uuid": pa.ExtensionArray.from_storage(UUID, pa.array([bytes(16), uuid.UUID(int=2**128 - 1).bytes, None], pa.binary(16))),
    "json": pa.ExtensionArray.from_storage(JSON, pa.array(["{}", '{"a": [1, 2.50]}', None])),
    "list": pa.array([[], [None, 1], None], pa.list_(pa.int32())),
    "large list": pa.array([[], ["a", None], None], pa.large_list(pa.string())),
    "fixed list": pa.array([[1.5, 2.5], [0.0, None], [None, -0.0]], pa.list_(pa.float32(), 2)),
    "list of lists": pa.array([[[], None, [1]], [], None], pa.list_(pa.list_(pa.int8()))),
    "struct": pa.array([{"a": 1, "b": None}, {"a": None, "b": [{"c": "x"}]}, None], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))])),
    "map": pa.array([[], [("a", 1), ("b", None)], None], pa.map_(pa.string(), pa.int32())),
    "null": pa.nulls(3),
}  # fmt: skip


def again(source: Path, folder: Path) -> Path:
    """The file as the commands write it: read in shards, written with the shard's schema."""
    (shard,) = plan_shards([str(source)], PairColumns(), shard_rows=100)
    reader, claim = ShardReader(shard), Claim(str(folder))
    how = reader.schema, str(source), "zstd", reader.times_in_utc
    with reader, ShardWriter(claim, "out.parquet", *how) as writer:
        for batch in reader.batches():
            writer.write(batch)
        writer.finish()
    return folder / "out.parquet"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("types")
    source = write(folder / "in" / "a.parquet", pairs(3, **TYPES))
    return source, again(source, folder)


@pytest.mark.parametrize("name", TYPES)
def test_a_type_comes_through(written, name):
    found = []
    for path in written:
        shown = f"""select typeof("{name}"), hash("{name}"), "{name}"::text from '{path}'"""
        found.append(duckdb.sql(shown).fetchall())
    assert found[0] == found[1]
    assert pq.read_schema(written[0]).field(name) == pq.read_schema(written[1]).field(name)


def bits(array: pa.Array) -> tuple:
    """All that an array holds, as bytes: which rows are null, lengths, and each leaf's values.

    What lies behind a null is nobody's value and is left out.
    """
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    nulls, array, kind = array.is_null().to_pylist(), array.drop_null(), array.type
    if pa.types.is_null(kind):
        return (nulls,)
    if pa.types.is_boolean(kind):
        return nulls, array.to_pylist()
    if pa.types.is_struct(kind):
        return nulls, *map(bits, array.flatten())
    if pa.types.is_map(kind):
        lengths = np.diff(array.offsets.to_numpy()).tolist()
        return nulls, lengths, bits(array.keys), bits(array.items)
    if pa.types.is_nested(kind):
        return nulls, pc.list_value_length(array).to_pylist(), bits(array.flatten())
    if any(holds(kind) for holds in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary,
                                     pa.types.is_large_binary, pa.types.is_string_view,
                                     pa.types.is_binary_view)):  # fmt: skip
        return nulls, array.cast(pa.large_binary()).to_pylist()
    width = kind.bit_width // 8
    content = array.buffers()[1].to_pybytes()
    return nulls, content[array.offset * width : (array.offset + len(array)) * width]


@pytest.mark.parametrize("name", TYPES)
def test_a_type_comes_through_bit_by_bit(written, name):
    came, went = (
        duckdb.sql(f"""select "{name}" as x from '{path}'""").to_arrow_table()["x"]
        for path in written
    )
    assert came.type == went.type
    assert bits(came.combine_chunks()) == bits(went.combine_chunks())


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_floats_are_the_bits_that_were_given(written, name):
    """DuckDB and NumPy alone: the test above compares two readings."""
    went = duckdb.sql(f"select {name} as x from '{written[1]}'").fetchnumpy()["x"]
    assert np.asarray(went).tobytes() == TYPES[name].to_numpy().tobytes()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([0.0], [-0.0]),
        ([1, None], [1, 0]),
        ([[1], [2, 3]], [[1, 2], [3]]),
        ([[None]], [None]),
        ([{"a": None}], [None]),
        (["a", "b"], ["ab", ""]),
        ([Decimal("1.0")], [Decimal("1.1")]),
        ([True, None], [True, False]),
    ],
)
def test_bits_that_differ_are_seen(one, other):
    kind = pa.array([*one, *other]).type
    assert bits(pa.array(one, kind)) == bits(pa.array(one, kind))
    assert bits(pa.array(one, kind)) != bits(pa.array(other, kind))
