"""The schema of what is written: the input's columns, ours behind them, and true footer keys.

Some engines keep their own copy of a file's schema under a key of the footer, and if it exists they
believe it rather than the columns. A copy that leaves our columns out would hide them:
Spark's is extended, the others are dropped, so that those engines look at the columns again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from transforms.columns import plain_type

SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
# A schema of their own, by engine: parquet-avro (now and before 1.9), Iceberg, parquet-protobuf,
# parquet-thrift, parquet-pig.
OTHER_SCHEMAS = frozenset(
    {
        b"parquet.avro.schema",
        b"avro.schema",
        b"iceberg.schema",
        b"parquet.proto.class",
        b"parquet.proto.descriptor",
        b"thrift.class",
        b"thrift.descriptor",
        b"pig.schema",
    }
)
_SPARK_TYPES = {
    pa.bool_(): "boolean", pa.int8(): "byte", pa.int16(): "short", pa.int32(): "integer",
    pa.int64(): "long", pa.float32(): "float", pa.float64(): "double", pa.string(): "string",
    pa.large_string(): "string", pa.date32(): "date", pa.timestamp("us", "UTC"): "timestamp",
    pa.timestamp("us"): "timestamp_ntz",
}  # fmt: skip


def extended_schema(schema: pa.Schema, added: Sequence[pa.Field]) -> pa.Schema:
    """A file's schema with columns behind it, and footer keys that are true of both."""
    for field in added:
        schema = schema.append(field)
    kept = {
        key: value
        for key, value in (schema.metadata or {}).items()
        if key not in OTHER_SCHEMAS and key != SPARK_SCHEMA
    }
    if spark := _extended_for_spark((schema.metadata or {}).get(SPARK_SCHEMA), added):
        kept[SPARK_SCHEMA] = spark
    return schema.with_metadata(kept or None)


def _extended_for_spark(content: bytes | None, added: Sequence[pa.Field]) -> bytes | None:
    """Spark's schema with more columns; None where there is none, or it cannot be extended.

    To keep it keeps what only it knows: comments, CHAR and VARCHAR lengths, and that a time which
    was an INT96 is a point in time and not one on a clock.
    """
    try:
        found = json.loads(content or b"")
        fields = [*found["fields"], *map(_spark_field, added)]
        return json.dumps(found | {"fields": fields}, ensure_ascii=False).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _spark_field(field: pa.Field) -> dict[str, object]:
    kind = _SPARK_TYPES[plain_type(field.type)]
    return {"name": field.name, "type": kind, "nullable": field.nullable, "metadata": {}}
