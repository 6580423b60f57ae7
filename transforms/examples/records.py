"""Examples on disk: rows → tf.Example records → gzip TFRecord files, the same bytes on every run.

A record's file and its place in it follow from a hash of the record. So the order is shuffled,
and depends neither on the runner nor on which worker finished first.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from transforms.accounts.shard_account import WrittenFile
from transforms.columns import as_floats
from transforms.examples.ordering import in_order, record_hash
from transforms.examples.split import EvalSplit
from transforms.hashing import split_by_hash
from transforms.labels import LabelRule, parse_labels
from transforms.pairs import PairColumns, sentences
from transforms.storage import files
from transforms.text_keys import as_short, sentence_keys

if TYPE_CHECKING:
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

TRAIN, EVAL = "train", "eval"
PARTS = (TRAIN, EVAL)
RAW_SCHEMA = pa.schema(
    [
        ("sentence1", pa.large_list(pa.large_binary())),
        ("sentence2", pa.large_list(pa.large_binary())),
        ("label", pa.large_list(pa.float32())),
    ]
)
# Triplets: an anchor, its positive and a negative, with the label of the first two.
TRIPLET_SCHEMA = RAW_SCHEMA.insert(2, pa.field("sentence3", RAW_SCHEMA.field("sentence1").type))
KEYS = ("first_key", "second_key")
_PIECE = 1 << 20
_WRITTEN_AT_ONCE = 4_096  # records that are Python's own bytes at a time


def raw_rows(
    rows: pa.RecordBatch, columns: PairColumns, labels: LabelRule, split: EvalSplit
) -> dict[str, pa.RecordBatch]:
    """Checked rows → raw features of the training and the evaluation part.

    Triplets have a third sentence, the negative, and the label 1: of the anchor and its positive.
    Similar pairs without a label column have the label 1, too. Where a teacher has judged the
    pairs, those without a label have NaN.

    Args:
        rows: good rows, as `split_rows` gives them.
        columns: names of the sentence and label columns.
        labels: how labels are read.
        split: which of them are kept for evaluation.

    Returns:
        For each part its rows under `raw_schema(columns)`, in the order they came.
    """
    texts = [sentences(rows, name) for name in columns.texts]
    evaluation = split.takes(*texts)
    if columns.label is not None:
        label = parse_labels(rows.column(columns.label), labels).fill_null(float("nan"))
    else:
        label = pa.array(np.ones(rows.num_rows, np.float32))
    values = [*(text.cast(pa.large_binary()) for text in texts), label]
    if columns.weight is not None:
        values.append(_floats(rows, [columns.weight]))
    if columns.teachers:
        values.append(_floats(rows, columns.teachers))
    if columns.keyed:
        values += [short_keys(text) for text in texts[:2]]
    raw = pa.RecordBatch.from_arrays(
        [one_each(column) for column in values], schema=raw_schema(columns)
    )
    return {TRAIN: raw.filter(pa.array(~evaluation)), EVAL: raw.filter(pa.array(evaluation))}


def short_keys(texts: pa.Array) -> pa.Array:
    """Sentences [n] → the first 8 bytes of their `sentence_keys`, int64 [n]."""
    distinct = texts.dictionary_encode()
    keys = as_short(sentence_keys(distinct.dictionary.to_pylist()))
    return pa.array(keys[distinct.indices.to_numpy()])


def _floats(rows: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """The mean of columns of numbers, float32 [n]."""
    return pa.array(
        np.mean([as_floats(rows.column(name)) for name in names], axis=0).astype(np.float32)
    )


def one_each(values: pa.Array) -> pa.LargeListArray:
    """Values [n] → lists of one value [n]: the only shape that tfx-bsl reads."""
    return pa.LargeListArray.from_arrays(pa.array(np.arange(len(values) + 1)), values)


def raw_schema(columns: PairColumns) -> pa.Schema:
    """The schema of raw features: of pairs, or of triplets, and the numbers beside them."""
    schema = RAW_SCHEMA if columns.negative is None else TRIPLET_SCHEMA
    for name in columns.number_features:
        schema = schema.append(pa.field(name, RAW_SCHEMA.field("label").type))
    for name in KEYS if columns.keyed else ():
        schema = schema.append(pa.field(name, pa.large_list(pa.int64())))
    return schema


def tensor_adapter_config(schema: pa.Schema = RAW_SCHEMA) -> TensorAdapterConfig:
    """How tf.Transform reads raw features: every column is a vector with one value a row."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    from transforms.text.tensor_adapter import TextAdapterConfig

    def scalar(name: str) -> schema_pb2.TensorRepresentation:
        dense = schema_pb2.TensorRepresentation.DenseTensor(
            column_name=name, shape=schema_pb2.FixedShape()
        )
        return schema_pb2.TensorRepresentation(dense_tensor=dense)

    return TextAdapterConfig(schema, {name: scalar(name) for name in schema.names})


def serialize(features: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Features (lists of int64, float32 or bytes) [n] → serialised tf.Examples [n].

    Features are serialised one at a time and joined: a tf.Example is a Protocol Buffers map, whose
    order in the bytes is random, and messages that are joined end to end count as merged
    (protobuf.dev/programming-guides/encoding, "Last One Wins").
    """
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoder = RecordBatchToExamplesEncoder()
    by_feature = [encoder.encode(features.select([name])) for name in sorted(features.schema.names)]
    records = reduce(lambda left, right: list(map(operator.add, left, right)), by_feature)
    return pa.array(records, pa.large_binary())


def deal(records: pa.LargeBinaryArray, count: int) -> Iterator[tuple[int, bytes]]:
    """Deals records out to `count` files by their hash; gives (file, packed records)."""
    for number, rows in split_by_hash(record_hash(records), count):
        yield number, pack(records.take(pa.array(rows)))


def pack(records: pa.LargeBinaryArray) -> bytes:
    """Records as one compressed piece: small to shuffle, cheap to keep."""
    batch = pa.RecordBatch.from_arrays([records], names=["record"])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


NO_RECORDS = pack(pa.array([], pa.large_binary()))


def unpack(packed: bytes) -> Iterator[pa.LargeBinaryArray]:
    """The records that `pack` packed."""
    with pa.ipc.open_stream(packed) as reader:
        for batch in reader:
            yield batch.column(0)


def file_name(part: str, number: int, count: int) -> str:
    """Such as `train-00000-of-00016.tfrecord.gz`."""
    return f"{part}-{number:05d}-of-{count:05d}.tfrecord.gz"


@dataclass(frozen=True)
class WriteExamples:
    """Writes one file of examples into a folder; doing it twice is harmless.

    Attributes:
        folder: where to, local or gs://.
        counts: how many files each part has.
    """

    folder: str
    counts: dict[str, int]

    def __call__(self, grouped: tuple[tuple[str, int], Iterable[bytes]]) -> WrittenFile:
        """((part, number of the file), packed records) → what was written."""
        (part, number), pieces = grouped
        name = file_name(part, number, self.counts[part])
        records = in_order(part for piece in pieces for part in unpack(piece))
        with tempfile.TemporaryDirectory(prefix="twinbeam-") as local:
            written = Path(local) / name
            rows = write_records(str(written), records)
            sha256 = files.sha256_of(str(written))
            _move_in(written, files.join(self.folder, name))
        return WrittenFile(name=name, rows=rows, sha256=sha256, source="")


def write_records(path: str, records: Iterable[pa.LargeBinaryArray]) -> int:
    """Writes a local gzip TFRecord file; returns how many records it has."""
    import tensorflow as tf

    # A third faster than the default level, files 3 % larger.
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=3)
    rows = 0
    with tf.io.TFRecordWriter(path, options) as writer:
        for part in records:
            for start in range(0, len(part), _WRITTEN_AT_ONCE):
                for record in part.slice(start, _WRITTEN_AT_ONCE).to_pylist():
                    writer.write(record)
            rows += len(part)
    return rows


def _move_in(local: Path, path: str) -> None:
    folder, _, name = path.rpartition("/")
    hidden, target = files.create_hidden(folder, name)
    with closing(target), local.open("rb") as source:
        while piece := source.read(_PIECE):
            target.write(piece)
    files.reveal(hidden, path)
