"""What went into the examples, counted: the accounts of preprocessing, and what drift checks need.

Counts are counters of tuples such as `("rejected", "label_null")`, so they add up in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accounts.shard_account import WrittenFile
from transforms.errors import RunError
from transforms.labels import LabelRule
from transforms.pairs import reject_reasons

Counts = Counter[tuple[Any, ...]]
BINS = 10


def count_read(rows_in: int, rejected: pa.RecordBatch) -> Counts:
    """Rows read, and rows rejected by reason."""
    reasons = Counter(reject_reasons(rejected))
    return Counter({("rows_in",): rows_in}) + Counter(
        {("rejected", reason): rows for reason, rows in reasons.items()}
    )


def count_inferred(new: int, same: int, other: int) -> Counts:
    """Pairs that follow from rows: new ones, and by what rows say those that were there already."""
    return Counter(
        {("inferred", "new"): new, ("inferred", "same"): same, ("inferred", "other"): other}
    )


def count_features(
    part: str, features: pa.RecordBatch, labels: LabelRule, unknown_id: int | None
) -> Counts:
    """Rows, labels, sentence lengths and out-of-vocabulary tokens of a batch of features.

    A sentence's length is its tokens, or its characters where features are raw text.
    """
    counts: Counts = Counter({("rows", part): features.num_rows})
    values = features.column("label").flatten()
    values = values.filter(pc.is_finite(values))  # pairs that only a teacher has judged have none
    counts.update({("label", part, name): n for name, n in _tally(_label_names(values, labels))})
    for name in features.schema.names:
        if name[-1].isdigit():  # a side, and no number
            counts += _count_side(part, features, name[-1], unknown_id)
    return counts


def _count_side(part: str, features: pa.RecordBatch, side: str, unknown_id: int | None) -> Counts:
    if f"text{side}" in features.schema.names:
        texts = features.column(f"text{side}").flatten().cast(pa.large_string())
        return Counter({("length", n): rows for n, rows in _tally(pc.utf8_length(texts))})
    ids = features.column(f"ids{side}")
    lengths = _tally(pc.list_value_length(ids))
    counts: Counts = Counter({("length", length): rows for length, rows in lengths})
    counts[("tokens", part)] += len(ids.flatten())
    if unknown_id is not None:
        counts[("unknown", part)] += pc.sum(pc.equal(ids.flatten(), unknown_id)).as_py() or 0
    return counts


def _label_names(values: pa.Array, labels: LabelRule) -> pa.Array:
    """Labels [n] → class names, or the lower edges of ten bins over the range."""
    if labels.classes is not None:
        return pa.array(labels.classes, pa.string()).take(values.cast(pa.int64()))
    low, high = labels.minimum or 0.0, labels.maximum or 1.0
    place = (values.to_numpy(zero_copy_only=False) - low) / (high - low)
    bins = np.clip((place * BINS).astype(int), 0, BINS - 1)
    return pa.array([f"{low + (high - low) * number / BINS:g}" for number in range(BINS)]).take(
        pa.array(bins)
    )


def _tally(values: pa.Array) -> list[tuple[Any, int]]:
    return [(entry["values"], entry["counts"]) for entry in pc.value_counts(values).to_pylist()]


def add_up(counters: Iterable[Counts]) -> Counts:
    """One counter from many."""
    total: Counts = Counter()
    for counter in counters:
        total.update(counter)
    return total


def accounts(counts: Counts, written: Sequence[WrittenFile], *, planned: int) -> dict[str, Any]:
    """The counts as the manifest has them, after a check that they add up.

    Args:
        counts: of the whole run.
        written: the files of examples.
        planned: rows that the footers of the input promised.

    Raises:
        RunError: a row was lost or doubled on the way.
    """
    rejected = _named(counts, "rejected")
    rows = {part: counts[("rows", part)] for part in ("train", "eval")}
    files = {part: [f for f in written if f.name.startswith(part)] for part in rows}
    stored = {part: sum(file.rows for file in files[part]) for part in rows}
    inferred = counts[("inferred", "new")]
    stored["train"] -= inferred
    rows_in, total = counts[("rows_in",)], sum(rows.values()) + sum(rejected.values())
    if not (planned == rows_in == total and stored == rows):
        raise RunError(
            f"{planned} rows planned, {rows_in} read, {rows['train']} for training, {rows['eval']} "
            f"for eval, {sum(rejected.values())} rejected, {sum(stored.values())} stored; "
            "the accounts must add up"
        )
    return {
        "rows_in": rows_in,
        "rows_train": rows["train"],
        "rows_eval": rows["eval"],
        "rows_rejected": sum(rejected.values()),
        "rows_inferred": inferred,
        "inferred_agreement": _agreement(counts),
        "rejected_by_reason": rejected,
        "train_files": [_file_entry(file) for file in sorted(files["train"], key=lambda f: f.name)],
        "eval_files": [_file_entry(file) for file in sorted(files["eval"], key=lambda f: f.name)],
        "label_counts": {part: _named(counts, "label", part) for part in rows},
        "sentence_length_histogram": _named(counts, "length"),
        "out_of_vocabulary_rate": _rate(counts, "eval"),
    }


def _named(counts: Counts, *prefix: str) -> dict[str, int]:
    """Counts below a prefix, by the rest of their key, in order."""
    found = {key[-1]: n for key, n in counts.items() if key[:-1] == prefix and n}
    return {str(key): found[key] for key in sorted(found)}


def _rate(counts: Counts, part: str) -> float | None:
    tokens = counts[("tokens", part)]
    return round(counts[("unknown", part)] / tokens, 6) if tokens else None


def _agreement(counts: Counts) -> float | None:
    """Of the inferred pairs that rows label, the share that they label so."""
    same, other = counts[("inferred", "same")], counts[("inferred", "other")]
    return round(same / (same + other), 6) if same + other else None


def _file_entry(file: WrittenFile) -> dict[str, Any]:
    return {"name": file.name, "rows": file.rows, "sha256": file.sha256}


COUNTS, INFERRED = "counts", "inferred"
