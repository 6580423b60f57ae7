"""Labels that people gave, from the Parquet or CSV files that the page saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.columns import plain
from transforms.errors import UserError
from transforms.hashing import pair_hash
from transforms.input.input_files import find, has_wildcard
from transforms.labelling.candidates import SENTENCE1, SENTENCE2
from transforms.labelling.choice import PAIR, pair_names
from transforms.labelling.known_labels import KnownLabels
from transforms.labels import LabelRule, parse_labels
from transforms.pairs import PairColumns, sentences
from transforms.storage import files
from transforms.tables.accounts import Account, BadLine
from transforms.tables.options import TextTable
from transforms.tables.reading import read_text_table

LABEL = "label"
SAME_OR_NOT = LabelRule(("0", "1"))
_SAVED = SENTENCE1, SENTENCE2  # what the page calls them, whatever the scores do
_TEXT = (".csv", ".tsv", ".jsonl")


def read_labels(patterns: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Some columns of labelled pairs, as text.

    Raises:
        UserError: a file has no such column, or a line that cannot be read.
    """
    return pa.concat_tables([_read(file.path, columns) for file in find(patterns)])


def labelled_hashes(patterns: Sequence[str], columns: PairColumns) -> np.ndarray:
    """`pair_hash` of the pairs in files of labels, sorted, each once: uint64 [n]."""
    found = [np.empty(0, np.uint64)]
    for file in find(patterns) if patterns else ():
        table = _read(file.path, columns.sides, _SAVED)
        found += [_keys(batch) for batch in table.to_batches()]
    return np.unique(np.concatenate(found))


def gather_labels(
    patterns: Sequence[str], columns: PairColumns, before: pa.Table | None = None
) -> tuple[pa.Table, dict[str, int]]:
    """The answers in all files, of each pair the last one, and an account of their rows.

    Args:
        patterns: files of labels, read in the order of their names; a pattern with wildcards may
            match none yet.
        columns: names of the sentence columns, in the files and in what is returned.
        before: what this returned for files that may be gone by now.

    Returns:
        The sentences, `label` (int64, 0 or 1) and `pair`, sorted by that; and counts: `rows` =
        `labels` + `no_answer` + `again` (the same answer) + `changed` (another).

    Raises:
        UserError: as `read_labels`.
    """
    tables = [_answers(path, columns) for path in _matched(patterns)]
    rows = sum(table.num_rows for table in tables)
    kept = before.select(_answer_schema(columns).names) if before is not None else None
    tables = [table.filter(pc.is_valid(table.column(LABEL))) for table in tables]
    answered = pa.concat_tables([_answer_schema(columns).empty_table(), *tables])
    table = pa.concat_tables([kept, answered]) if kept is not None else answered
    names, labels = table.column(PAIR).to_numpy(), table.column(LABEL).to_numpy()
    # By pair, and within a pair in the order of the files: its last row is the answer that counts.
    order = np.lexsort([np.arange(len(names)), names.astype(str)])
    last = np.append(names[order][1:] != names[order][:-1], True) if len(order) else order > 0
    follows = ~np.append(True, names[order][1:] != names[order][:-1]) if len(order) else order > 0
    changed = int((follows[1:] & (labels[order][1:] != labels[order][:-1])).sum())
    found = table.take(order[last])
    counts = {
        "rows": rows + (kept.num_rows if kept is not None else 0),
        "labels": found.num_rows,
        "no_answer": rows - answered.num_rows,
        "again": table.num_rows - found.num_rows - changed,
        "changed": changed,
    }
    return found.combine_chunks(), counts


def _matched(patterns: Sequence[str]) -> Iterator[str]:
    """The files, in the order of their names: the page names what it saves by the time."""
    for pattern in patterns:
        try:
            matched = find([pattern])
        except UserError:
            if not has_wildcard(pattern):
                raise
            matched = []
        yield from (file.path for file in matched)


def _answer_schema(columns: PairColumns) -> pa.Schema:
    text = pa.large_string()
    one, other = columns.sides
    return pa.schema({one: text, other: text, LABEL: pa.int64(), PAIR: pa.string()})


def _answers(path: str, columns: PairColumns) -> pa.Table:
    table = _read(path, [*columns.sides, LABEL], [*_SAVED, LABEL]).combine_chunks()
    schema = _answer_schema(columns)
    if not table.num_rows:
        return schema.empty_table()
    batch = table.to_batches()[0]
    names = pair_names(_keys(batch))
    labels = parse_labels(batch.column(2), SAME_OR_NOT).cast(pa.int64())
    return pa.table([*batch.columns[:2], labels, names], schema=schema)


def _keys(batch: pa.RecordBatch) -> np.ndarray:
    """`pair_hash` of the first two columns: uint64 [n]."""
    return pair_hash(*(sentences(batch, name).fill_null("") for name in batch.schema.names[:2]))


def _read(path: str, *choices: Sequence[str]) -> pa.Table:
    """A file's columns as text: the first of the choices of names that it has."""
    if path.endswith(_TEXT):
        return _read_text(path, choices)
    with files.open_input(path) as file:
        try:
            parquet = pq.ParquetFile(file)
        except pa.ArrowException as error:
            reason = files.reason(error)
            raise UserError(f"{path} is neither Parquet nor CSV of labels: {reason}") from None
        columns = _choose(path, parquet.schema_arrow.names, choices)
        table = parquet.read(columns=list(columns))
    texts = [
        pa.chunked_array(
            [_as_text(chunk) for chunk in table.column(name).chunks], pa.large_string()
        )
        for name in columns
    ]
    return pa.table(texts, names=list(columns))


def _as_text(array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())  # true and false are the labels 1 and 0
    return plain(array).cast(pa.large_string())


def _read_text(path: str, choices: Sequence[Sequence[str]]) -> pa.Table:
    bad: list[BadLine] = []
    batches = []
    columns = choices[0]
    for rows in read_text_table(path, TextTable(), Account(path, bad.append)):
        columns = _choose(path, rows.batch.schema.names, choices)
        batches.append(rows.batch.select(list(columns)))
    if bad:
        raise UserError(f"{path}, line {bad[0].line}: {bad[0].reason}; save the labels again")
    schema = pa.schema([(name, pa.large_string()) for name in columns])
    return pa.Table.from_batches(batches, schema)


def _choose(path: str, names: Sequence[str], choices: Sequence[Sequence[str]]) -> Sequence[str]:
    """The first of the choices whose columns all exist."""
    for columns in choices:
        if set(columns) <= set(names):
            return columns
    missing = next(name for name in choices[0] if name not in names)
    raise UserError(f"{path}: no column {missing!r}; it has {', '.join(names[:12])}")


def read_known(patterns: Sequence[str], columns: PairColumns) -> KnownLabels:
    """Those of files of labelled pairs, Parquet or text; a pair labelled both ways is similar.

    Raises:
        UserError: a file lacks a column, or a label is neither 0 nor 1.
    """
    table = read_labels(patterns, [*columns.sides, columns.label or "label"])
    keys, values = [np.zeros(0, np.uint64)], [np.zeros(0, np.int8)]
    for batch in table.to_batches():
        given = batch.column(2)
        parsed = parse_labels(given, SAME_OR_NOT)
        known = parsed.is_valid().to_numpy(zero_copy_only=False)
        if not known.all() and given.null_count < int((~known).sum()):
            raise UserError(
                f"{patterns[0]}: a label in column {table.schema.names[2]!r} is neither 0 nor "
                "1; make them so with twinbeam convert --label_map"
            )
        sides = [sentences(batch, name).fill_null("") for name in columns.sides]
        keys.append(pair_hash(*sides)[known])
        values.append(parsed.drop_null().to_numpy(zero_copy_only=False).astype(np.int8))
    hashes, labels = np.concatenate(keys), np.concatenate(values)
    order = np.lexsort((-labels, hashes))
    found, first = np.unique(hashes[order], return_index=True)
    return KnownLabels(found, labels[order][first])
