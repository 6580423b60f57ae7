"""Labels that fit no class, seen in the first rows, before any work is begun."""

from __future__ import annotations

from typing import Any

from transforms.errors import UserError
from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard
from transforms.labels import LabelRule, parse_labels

ROWS = 1_000
SHOWN = 3
SIMILAR = ("yes", "y", "true", "t", "same", "similar", "duplicate", "match", "equal", "paraphrase")
_CHARS = 24  # of a label: it may be a sentence


def check_labels(shard: Shard, column: str, rule: LabelRule) -> None:
    """Reads the first rows of a shard, and refuses labels none of which can be used.

    Raises:
        UserError: shows some of them, what they may be, and the map that would do.
    """
    for batch in read_shard(shard):
        labels = batch.column(column).slice(0, ROWS)
        given = [value for value in labels.to_pylist() if value is not None]
        if given and parse_labels(labels, rule).null_count == len(labels):
            raise UserError(_message(shard.source, column, given, rule))
        return


def _message(source: str, column: str, labels: list[Any], rule: LabelRule) -> str:
    values = list(dict.fromkeys(map(str, labels)))
    shown = ", ".join(repr(value[:_CHARS]) for value in values[:SHOWN])
    message = (
        f"{source}: none of the first {len(labels):,} labels in column {column!r} is "
        f"{rule.expected}: {shown}{', …' if len(values) > SHOWN else ''}"
    )
    if rule.classes is None or len(values) > len(rule.classes):
        return message + "; name the label's column with --label_column"
    # Classes are listed with the similar one last; a label whose word says so goes there.
    ordered = sorted(values, key=lambda value: (value.strip().casefold() in SIMILAR, value))
    pairs = zip(ordered, rule.classes, strict=False)
    wanted = " ".join(f"{value[:_CHARS]}={name}" for value, name in pairs)
    return message + f"; map them with twinbeam convert --label_map, such as {wanted}"
