"""Shards of pairs → accounts of clusters: the wiring of the tasks, step by step.

Each step is a task for each bucket and waits for all tasks of the step before, which pass their
tables on through files (see `exchange`); only a short summary of each goes through Beam itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from transforms.clustering.clusters import ClusterSettings, label_nodes, write_clusters
from transforms.clustering.components import TaskDone, converged, gather, plan_steps, run_step
from transforms.clustering.descent import claim, follow_claims
from transforms.clustering.tables import ClusterShard, ReadSettings, read_cluster_table
from transforms.storage.exchange import Exchange


class ClusterPairs(beam.PTransform):
    """Shards of tables → `tables`, `clusters` (accounts) and `notes` (counts for the manifest).

    Args:
        exchange: through which steps pass on their tables.
        reading: how tables are read.
        settings: what decides the clusters.
    """

    def __init__(self, exchange: Exchange, reading: ReadSettings, settings: ClusterSettings):
        super().__init__()
        self._exchange = exchange
        self._reading = reading
        self._settings = settings

    def expand(self, shards: beam.PCollection) -> dict[str, beam.PCollection]:
        exchange, settings = self._exchange, self._settings
        read = shards | "Read tables" >> beam.ParDo(
            _ReadTable(exchange, self._reading)
        ).with_outputs("accounts", main="done")
        buckets = (
            shards.pipeline
            | "List buckets" >> beam.Create(list(range(exchange.buckets)))
            | "Spread buckets" >> beam.Reshuffle()
        )
        left = read.done
        for step in plan_steps(exchange.buckets):
            left = buckets | f"Step {step}" >> beam.Map(
                _step, step, exchange, before=beam.pvalue.AsList(left)
            )
        labelled = buckets | "Label nodes" >> beam.Map(
            _label, exchange, settings, before=beam.pvalue.AsList(left)
        )
        named, notes = self._with_past(buckets, labelled)
        written = buckets | "Write clusters" >> beam.ParDo(
            _WriteClusters(exchange, settings), beam.pvalue.AsList(named)
        ).with_outputs("shown", main="accounts")
        return {
            "tables": read.accounts,
            "clusters": written.accounts,
            "notes": (written.shown, *notes) | "All notes" >> beam.Flatten(),
        }

    def _with_past(
        self, buckets: beam.PCollection, labelled: beam.PCollection
    ) -> tuple[beam.PCollection, list[beam.PCollection]]:
        """Asks which cluster descends from which earlier one, where there are earlier ones."""
        if not self._settings.previous:
            return labelled, []
        claimed = buckets | "Claim earlier ids" >> beam.Map(
            _claim, self._exchange, self._settings, before=beam.pvalue.AsList(labelled)
        )
        heirs = buckets | "Follow claims" >> beam.Map(
            _follow_claims, self._exchange, before=beam.pvalue.AsList(claimed)
        )
        return heirs, [claimed, heirs]


def _step(bucket: int, step: str, exchange: Exchange, before: list[TaskDone]) -> TaskDone:
    return run_step(step, bucket, gather(before, exchange.buckets), exchange)


def _label(
    bucket: int, exchange: Exchange, settings: ClusterSettings, before: list[TaskDone]
) -> int:
    return label_nodes(bucket, converged(gather(before, exchange.buckets)), exchange, settings)


def _claim(
    bucket: int, exchange: Exchange, settings: ClusterSettings, before: list[int]
) -> dict[str, Any]:
    return {"clusters_merged": claim(bucket, exchange, settings)}


def _follow_claims(bucket: int, exchange: Exchange, before: list[Any]) -> dict[str, Any]:
    return {"clusters_split": follow_claims(bucket, exchange)}


class _ReadTable(beam.DoFn):
    def __init__(self, exchange: Exchange, settings: ReadSettings):
        self._exchange = exchange
        self._settings = settings

    def process(self, table: ClusterShard) -> Iterator[Any]:
        done, account = read_cluster_table(table, self._exchange, self._settings)
        yield done
        yield beam.pvalue.TaggedOutput("accounts", account)


class _WriteClusters(beam.DoFn):
    def __init__(self, exchange: Exchange, settings: ClusterSettings):
        self._exchange = exchange
        self._settings = settings

    def process(self, bucket: int, _before: Iterable[Any]) -> Iterator[Any]:
        account, shown = write_clusters(bucket, self._exchange, self._settings)
        yield account
        yield beam.pvalue.TaggedOutput("shown", shown)
