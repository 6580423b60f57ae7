"""Ranks labelled pairs by how likely their label is wrong: on a page, and as Parquet.

twinbeam doubts --input 'labelled/*.parquet' --id_column id --output doubts
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from model.scoring.bundle_scorer import BundleScorer
from pipelines.options import command_line
from pipelines.options.doubts_options import DoubtsOptions, parse
from pipelines.report.doubts_page import (
    ALSO_SAME,
    DOUBTS,
    NOT_SAME,
    SAME,
    SUMMARY,
    TRIANGLES,
    doubts_page,
    format_counts,
    shown_doubts,
)
from pipelines.running.phases import phase
from transforms.accounts.shard_account import SUCCESS, run_key
from transforms.accounts.staging import stage
from transforms.columns import as_floats, is_number
from transforms.errors import UserError
from transforms.evaluation.slices import can_be_slice, shown_texts
from transforms.input.read_shards import read_shard
from transforms.input.shards import Shard, plan
from transforms.labelling.doubts import doubt_labels, triangles
from transforms.labelling.labelled_pairs import LabelledPairs
from transforms.labels import LabelRule, parse_labels
from transforms.pairs import sentences, split_rows
from transforms.storage import files

PAGE = "doubts.html"
_OURS = {DOUBTS, TRIANGLES, PAGE, SUMMARY, SUCCESS}
_RULE = LabelRule(("0", "1"))
_SHARD_ROWS = 131_072
_NO_LIMIT = 1 << 31


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Ranks, and returns the summary."""
    return find_doubts(parse(sys.argv[1:] if argv is None else argv))


def find_doubts(options: DoubtsOptions) -> dict[str, Any]:
    """Reads all labelled pairs into memory, ranks them, and writes the result.

    Returns:
        The content of doubts.json: counts.

    Raises:
        UserError: the input, the output folder or a flag cannot be used.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UserError("doubts needs scikit-learn: pip install 'twinbeam[train]'") from None
    planned = plan(
        options.inputs,
        options.columns,
        shard_rows=_SHARD_ROWS,
        on_bad_file=None,
        named_after_input=False,
    )
    check_columns(planned.schemas, options)
    shards = planned.shards
    scorer = BundleScorer(options.model) if options.model else None
    key = run_key(
        fingerprints=[shard.fingerprint for shard in shards],
        bundle=scorer.verify()["fingerprint"] if scorer else None,
        **options.identity(),
    )
    if _is_there(options, key):
        print(f"{options.output} is complete already: same inputs and options")
        return print_summary(options.output)
    table, skipped = read_labelled(shards, options)
    pairs = LabelledPairs.from_columns(
        table["sentence1"].tolist(),
        table["sentence2"].tolist(),
        table["label"].to_numpy(np.int64),
        table["similarity"].to_numpy() if options.similarity else None,
    )
    if scorer:
        pairs = replace(pairs, vectors=sentence_vectors(scorer, pairs.texts))
    if len(np.unique(pairs.label)) < 2:
        raise UserError("all labels are the same, so none can be doubted; check --label_column")
    found = pd.concat([table, doubt_labels(pairs, seed=options.seed)], axis=1)
    ranked = found.sort_values(["doubt", "contradictions"], ascending=False, kind="stable")
    impossible = triangles(pairs)
    summary = {
        "key": key,
        "rows": len(table),
        "rows_skipped": skipped,
        "doubt_over_half": int((found["doubt"] > 0.5).sum()),
        "in_contradictions": int((found["contradictions"] > 0).sum()),
        "labelled_apart": int(found["labelled_apart"].sum()),
    }
    write_doubts(options, ranked, triangle_table(found, impossible), summary)
    return print_summary(options.output)


def check_columns(schemas: Mapping[str, pa.Schema], options: DoubtsOptions) -> None:
    """Checks the columns that the work needs beside the labelled pairs, before it begins.

    Raises:
        UserError: names the file, the column, its type and the flag.
    """
    simple = "text, numbers, booleans, dates or times"
    for flag, name, fits, expected in (
        ("--id_column", options.id_column, can_be_slice, simple),
        ("--similarity_column", options.similarity, is_number, "numbers"),
    ):
        for source, schema in schemas.items() if name else ():
            if name not in schema.names:
                listed = ", ".join(schema.names[:12])
                raise UserError(
                    f"{source}: no column {name!r}; it has {listed}; name yours with {flag}"
                )
            if not fits(found := schema.field(name).type):
                raise UserError(
                    f"{source}: column {name!r} is {found}, expected {expected}; "
                    f"name another with {flag}"
                )


def sentence_vectors(scorer: BundleScorer, texts: list[str]) -> np.ndarray:
    """The vectors of sentences by a bundle, of length one: float32 [s, d]."""
    with phase(f"encoding {len(texts):,} sentences"):
        vectors = scorer.load().encode(texts)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def read_labelled(
    shards: Sequence[Shard], options: DoubtsOptions
) -> tuple[pd.DataFrame, dict[str, int]]:
    """All usable rows: `row` (the id as text), sentences, `label`, `similarity`; others, counted.

    Raises:
        UserError: nothing can be used.
    """
    extra = [name for name in (options.id_column, options.similarity) if name]
    parts: list[pd.DataFrame] = []
    rows: dict[str, int] = {}
    skipped = 0
    for shard in shards:
        wanted = [*options.columns.sides, str(options.columns.label), *extra]
        for batch in read_shard(shard, columns=list(dict.fromkeys(wanted))):
            start = rows.get(shard.source, 0)
            rows[shard.source] = start + batch.num_rows
            names = pa.array([f"{shard.source}:{start + n}" for n in range(batch.num_rows)])
            named = batch.append_column("\0row", names)
            good, bad = split_rows(named, options.columns, max_chars=_NO_LIMIT, labels=_RULE)
            skipped += bad.num_rows
            parts.append(_frame(good, options))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if not len(table):
        raise UserError(f"no row can be used ({skipped} skipped); check --label_column")
    return table, {"unusable": skipped} if skipped else {}


def _frame(good: pa.RecordBatch, options: DoubtsOptions) -> pd.DataFrame:
    sides = [sentences(good, name).to_pylist() for name in options.columns.sides]
    named = good.column(options.id_column or "\0row")
    columns = {
        "row": shown_texts(named).tolist(),
        "sentence1": sides[0],
        "sentence2": sides[1],
        "label": parse_labels(good.column(options.columns.label), _RULE).to_numpy(
            zero_copy_only=False
        ),
    }
    if options.similarity:
        numbers = as_floats(good.column(options.similarity))
        columns["similarity"] = np.where(np.isfinite(numbers), numbers, np.nan)
    return pd.DataFrame(columns)


def triangle_table(found: pd.DataFrame, rows: np.ndarray) -> pa.Table:
    """Each contradiction by the ids of its rows: two that say same, one that says not."""
    ids = found["row"].to_numpy()
    names = (SAME, ALSO_SAME, NOT_SAME)
    return pa.table({name: pa.array(ids[rows[:, k]], pa.string()) for k, name in enumerate(names)})


def write_doubts(
    options: DoubtsOptions, ranked: pd.DataFrame, impossible: pa.Table, summary: dict[str, Any]
) -> None:
    """Writes the complete folder."""
    ranked = ranked.astype({"label": "int64"}).reset_index(drop=True)
    with tempfile.TemporaryDirectory(prefix="twinbeam-doubts-") as temporary:
        local = Path(temporary) / "doubts"
        local.mkdir()
        found = pa.Table.from_pandas(ranked, preserve_index=False)
        pq.write_table(found.replace_schema_metadata(None), local / DOUBTS, compression="zstd")
        pq.write_table(impossible, local / TRIANGLES, compression="zstd")
        shown = shown_doubts(summary, found, impossible, options.show)
        (local / PAGE).write_text(doubts_page(shown), encoding="utf-8")
        files.write_json(str(local / SUMMARY), summary)
        (local / SUCCESS).touch()
        staging = stage(options.output, overwrite=options.overwrite)
        staging.publish_copy(str(local), last=[SUCCESS])


def print_summary(output: str) -> dict[str, Any]:
    """Prints the result and where it is; returns the content of doubts.json."""
    summary: dict[str, Any] = files.read_json(files.join(output, SUMMARY))
    print(format_counts(summary))
    print(f"page: {output}/{PAGE}   ranked: {output}/{DOUBTS}   triangles: {output}/{TRIANGLES}")
    return summary


def _is_there(options: DoubtsOptions, key: str) -> bool:
    names = files.list_folder(options.output)
    foreign = sorted(set(names) - _OURS)
    if foreign:
        raise UserError(
            f"{options.output} holds {foreign[0]!r}, which doubts did not write; give another"
        )
    done = SUCCESS in names and files.read_json(files.join(options.output, SUMMARY))["key"] == key
    if names and not done and not options.overwrite:
        raise UserError(f"{options.output} holds another result; give another, or --overwrite")
    return done


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
