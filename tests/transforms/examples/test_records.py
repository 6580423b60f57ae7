import random
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.accounts.shard_account import WrittenFile
from transforms.errors import RunError
from transforms.examples.counts import accounts, add_up, count_features, count_read
from transforms.examples.ordering import in_order
from transforms.examples.records import (
    WriteExamples,
    deal,
    pack,
    raw_rows,
    serialize,
    unpack,
)
from transforms.examples.split import EvalSplit
from transforms.labels import LabelRule
from transforms.pairs import PairColumns

RECORDS = st.lists(st.binary(max_size=12), max_size=60)
BINARY = LabelRule(classes=("no", "yes"))


def make_features(ids1, ids2, labels):
    ids = pa.large_list(pa.int64())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids1, ids),
            pa.array(ids2, ids),
            pa.array([[label] for label in labels], pa.large_list(pa.float32())),
        ],
        names=["ids1", "ids2", "label"],
    )


FEATURES = make_features([[2, 3], [4]], [[5], [1, 7, 300]], [1.0, 0.0])


def test_records_are_tf_examples():
    for record, ids1, ids2, label in zip(
        serialize(FEATURES).to_pylist(), [[2, 3], [4]], [[5], [1, 7, 300]], [1.0, 0.0], strict=True
    ):
        found = tf.train.Example.FromString(record).features.feature
        assert sorted(found) == ["ids1", "ids2", "label"]
        assert list(found["ids1"].int64_list.value) == ids1
        assert list(found["ids2"].int64_list.value) == ids2
        assert list(found["label"].float_list.value) == [label]


def test_tensorflow_parses_records_in_bulk():
    ragged = tf.io.RaggedFeature(tf.int64)
    found = tf.io.parse_example(
        serialize(FEATURES).to_pylist(),
        {"ids1": ragged, "ids2": ragged, "label": tf.io.FixedLenFeature([], tf.float32)},
    )
    assert found["ids1"].to_list() == [[2, 3], [4]]
    assert found["ids2"].to_list() == [[5], [1, 7, 300]]
    assert found["label"].numpy().tolist() == [1.0, 0.0]


def test_raw_text_is_kept_as_bytes():
    text = pa.array([["你好".encode()]], pa.large_list(pa.large_binary()))
    features = pa.RecordBatch.from_arrays([text, text], names=["text1", "text2"])
    found = tf.train.Example.FromString(serialize(features)[0].as_py()).features.feature
    assert list(found["text1"].bytes_list.value) == ["你好".encode()]


def test_bytes_do_not_depend_on_the_batch():
    whole = serialize(FEATURES).to_pylist()
    assert [serialize(FEATURES.slice(row, 1))[0].as_py() for row in (0, 1)] == whole


@given(RECORDS)
def test_packing_keeps_all(records):
    packed = pack(pa.array(records, pa.large_binary()))
    assert [record for piece in unpack(packed) for record in piece.to_pylist()] == records


def dealt_files(batches, count):
    files = {number: [] for number in range(count)}
    for batch in batches:
        for number, packed in deal(pa.array(batch, pa.large_binary()), count):
            files[number].append(packed)
    return [ordered(pieces) for pieces in files.values()]


def ordered(pieces):
    parts = in_order(part for piece in pieces for part in unpack(piece))
    return [record for part in parts for record in part.to_pylist()]


@settings(deadline=None)
@given(RECORDS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_files_do_not_depend_on_batches_or_order(records, count, chance):
    shuffled = chance.sample(records, len(records))
    cut = chance.randint(0, len(records))
    expected = dealt_files([records], count)
    assert dealt_files([shuffled[cut:], shuffled[:cut]], count) == expected
    assert Counter(record for file in expected for record in file) == Counter(records)


def test_order_is_shuffled_and_files_are_even():
    records = [f"record {number}".encode() for number in range(4000)]
    files = dealt_files([records], 4)
    assert all(abs(len(file) - 1000) < 120 for file in files)  # 4 deviations of a binomial
    places = [int(record.split()[1]) for record in files[0]]
    rising = sum(a < b for a, b in pairwise(places))
    assert abs(rising - len(places) / 2) < 60


def test_written_files_are_alike_and_tensorflow_reads_them(tmp_path):
    records = [f"record {number}".encode() for number in range(50)]
    sums = []
    for folder in ("a", "b"):
        random.shuffle(records)
        pieces = [pack(pa.array(part, pa.large_binary())) for part in (records[:20], records[20:])]
        write = WriteExamples(str(tmp_path / folder), {"train": 3})
        written = write((("train", 2), pieces))
        assert (written.name, written.rows) == ("train-00002-of-00003.tfrecord.gz", 50)
        path = tmp_path / folder / written.name
        found = [r.numpy() for r in tf.data.TFRecordDataset(str(path), "GZIP")]
        assert sorted(found) == sorted(records)
        sums.append((written.sha256, path.read_bytes()))
    assert sums[0] == sums[1]


def test_raw_rows_read_labels_and_leave_nothing_out():
    rows = pa.RecordBatch.from_pylist(
        [{"q": f"frage {n}", "a": f"antwort {n}", "same": n % 2 == 0} for n in range(200)]
    )
    rule = LabelRule(classes=("0", "1"))
    parts = raw_rows(rows, PairColumns("q", "a", "same"), rule, EvalSplit(0.3))
    found = {
        row["sentence1"][0].decode(): (row["sentence2"][0].decode(), row["label"])
        for part in parts.values()
        for row in part.to_pylist()
    }
    assert found == {f"frage {n}": (f"antwort {n}", [float(n % 2 == 0)]) for n in range(200)}
    assert 30 < parts["eval"].num_rows < 90


def test_features_are_counted():
    counts = count_features("eval", FEATURES, BINARY, unknown_id=1)
    assert counts == {
        ("rows", "eval"): 2,
        ("label", "eval", "yes"): 1,
        ("label", "eval", "no"): 1,
        ("length", 2): 1,
        ("length", 1): 2,
        ("length", 3): 1,
        ("tokens", "eval"): 7,
        ("unknown", "eval"): 1,
    }


def test_numbers_are_counted_in_ten_bins():
    labels = [1.0, 1.1, 1.5, 4.99, 5.0]
    features = make_features([[2]] * 5, [[2]] * 5, labels)
    counts = count_features("train", features, LabelRule(minimum=1, maximum=5), None)
    bins = {key[2]: rows for key, rows in counts.items() if key[0] == "label"}
    assert bins == {"1": 2, "1.4": 1, "4.6": 2}  # (5 − 1) / 10 = 0.4 wide


def make_rejected(reasons):
    return pa.RecordBatch.from_pydict({"reject_reason": pa.array(reasons, pa.string())})


def make_counts():
    return add_up(
        [
            count_read(7, make_rejected(["label_null", "sentence_null", "label_null"])),
            count_features("train", FEATURES, BINARY, 1),
            count_features("eval", FEATURES, BINARY, 1),
        ]
    )


def make_written(train=2, evaluation=2):
    return [
        WrittenFile("eval-00000-of-00001.tfrecord.gz", evaluation, "e", ""),
        WrittenFile("train-00000-of-00001.tfrecord.gz", train, "t", ""),
    ]


def test_accounts_for_the_manifest():
    summary = accounts(make_counts(), make_written(), planned=7)
    assert summary["rows_in"] == 7
    assert (summary["rows_train"], summary["rows_eval"], summary["rows_rejected"]) == (2, 2, 3)
    assert summary["rejected_by_reason"] == {"label_null": 2, "sentence_null": 1}
    assert summary["label_counts"] == {"train": {"no": 1, "yes": 1}, "eval": {"no": 1, "yes": 1}}
    assert summary["sentence_length_histogram"] == {"1": 4, "2": 2, "3": 2}
    assert summary["out_of_vocabulary_rate"] == round(1 / 7, 6)
    assert [file["sha256"] for file in summary["train_files"]] == ["t"]


@pytest.mark.parametrize(
    ("planned", "written"), [(8, make_written()), (7, make_written(train=1)), (7, [])]
)
def test_rows_that_went_missing_stop_the_run(planned, written):
    with pytest.raises(RunError, match="must add up"):
        accounts(make_counts(), written, planned=planned)
