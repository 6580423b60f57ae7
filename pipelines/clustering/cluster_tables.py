"""The tables that clusters are made from: planned and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.options.scored_inputs import is_folder, score_inputs
from transforms.accounts import output_folder
from transforms.clustering.edges import PairTable, check_text, id_kind, node_schema
from transforms.clustering.tables import ClusterShard, Kind
from transforms.errors import UserError
from transforms.input.input_files import FoundFile
from transforms.input.shards import Plan, plan
from transforms.pairs import check_reject_names

if TYPE_CHECKING:
    from pipelines.options.cluster_options import ClusterOptions


FOUND = "pairs_compared"  # what the manifest of find has and that of score has not


@dataclass(frozen=True)
class ClusterTables:
    """The plan of all tables.

    Attributes:
        shards: of all of them.
        pairs: rows of the pairs.
        table: how pairs are read.
        schema: of nodes.
    """

    shards: tuple[ClusterShard, ...]
    pairs: int
    table: PairTable
    schema: pa.Schema

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Names of the shards of one kind."""
        return tuple(table.shard.name for table in self.shards if table.kind == kind)


def plan_pair_tables(options: ClusterOptions) -> ClusterTables:
    """The shards of pairs, of all rows and of earlier clusters, checked.

    Raises:
        UserError: names the file that cannot be used and why.
    """
    check_similar(options)
    pairs = _planned(score_inputs(options.inputs), options)
    table = pair_table(options, pairs)
    schema = _same_nodes(pairs, table)
    shards = [ClusterShard("pairs", shard) for shard in pairs.shards]
    if options.rows:
        shards += _other("rows", _checked_rows(options, schema))
    if options.previous:
        previous = _planned(score_inputs([options.previous]), options)
        for source, found in previous.schemas.items():
            if "cluster_id" not in found.names:
                raise UserError(
                    f"--previous: {source} has no cluster_id; give an output of cluster"
                )
        shards += _other("previous", previous)
    return ClusterTables(tuple(shards), sum(s.rows for s in pairs.shards), table, schema)


def check_similar(options: ClusterOptions) -> None:
    """Checks that it is known which pairs are similar.

    Raises:
        UserError: pairs of all kinds are given without a least similarity.
    """
    for folder in options.inputs:
        found = is_folder(folder) and FOUND in output_folder.read_manifest(folder)
        if not found and options.min_similarity is None:
            raise UserError(
                f"--input {folder} may hold pairs that are not similar; give --min_similarity"
            )


def pair_table(options: ClusterOptions, pairs: Plan) -> PairTable:
    """How the pairs are read: by ids where there are any, else by their sentences."""
    names = set.intersection(*(set(schema.names) for schema in pairs.schemas.values()))
    ids = options.ids or (("id1", "id2") if {"id1", "id2"} <= names else options.sentences)
    sentences = None
    if ids != options.sentences and set(options.sentences) <= names:
        sentences = options.sentences
    return PairTable(ids, sentences, options.similarity, options.min_similarity)


def _planned(patterns: Sequence[str | FoundFile], options: ClusterOptions) -> Plan:
    planned = plan(
        patterns,
        PairTable(),
        shard_rows=options.shard_rows,
        on_bad_file=None,
        named_after_input=False,
    )
    check_reject_names(planned.schemas)
    return planned


def _same_nodes(pairs: Plan, table: PairTable) -> pa.Schema:
    found = {path: node_schema(schema, table, path) for path, schema in pairs.schemas.items()}
    (first, schema), *rest = found.items()
    for path, other in rest:
        if other != schema:
            raise UserError(f"{path}: ids are {other.field('id').type}, in {first} "
                            f"{schema.field('id').type}; make them the same")  # fmt: skip
    return schema


def _checked_rows(options: ClusterOptions, schema: pa.Schema) -> Plan:
    rows = _planned(options.rows, options)
    wanted = row_columns(options, schema)
    for path, found in rows.schemas.items():
        for name in wanted:
            if name not in found.names:
                raise UserError(f"--rows: {path} has no column {name!r}; name yours (see --help)")
        for name in wanted[1:]:
            check_text(found.field(name).type, name, path)
        kind = id_kind(found.field(options.id_column).type, options.id_column, path)
        if kind != schema.field("id").type:
            raise UserError(
                f"--rows: ids of {path} are {kind}, those of the pairs "
                f"{schema.field('id').type}; make them the same"
            )
    return rows


def row_columns(options: ClusterOptions, schema: pa.Schema) -> tuple[str, ...]:
    """Columns of the table of all rows."""
    with_sentence = "sentence" in schema.names
    return (options.id_column, options.sentence_column) if with_sentence else (options.id_column,)


def _other(kind: Kind, found: Plan) -> list[ClusterShard]:
    """Shards of a table that holds no pairs: its rows are none of those that must add up."""
    return [
        ClusterShard(kind, replace(shard, name=f"{kind}-{shard.name}", rows=0))
        for shard in found.shards
    ]
