"""The last step of making clusters: adds up the accounts, checks them, writes the page, commits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pipelines.report.cluster_page import cluster_page
from transforms.accounts import commit
from transforms.accounts.claims import Claim
from transforms.accounts.output_folder import CLUSTERS_PAGE
from transforms.clustering.shown import SHOWN
from transforms.storage import files

PAGE = CLUSTERS_PAGE


@dataclass(frozen=True)
class CommitClusters:
    """Commits the run in a worker, so it happens even where the launcher has gone.

    Attributes:
        claim: the run's claim to the output folder.
        names: of all shards of the plan.
        exchange: the folder of what steps pass on; it is deleted.
        header: what the manifest says besides the accounts.
        max_reject_fraction: of rows; with more the run fails.
        started: when the run began.
    """

    claim: Claim
    names: tuple[str, ...]
    exchange: str
    header: dict[str, Any]
    max_reject_fraction: float
    started: float

    def __call__(self, _: None, parts: Any, notes: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Commits.

        Args:
            _: nothing.
            parts: sums of the accounts of all shards.
            notes: what is shown of each bucket, and counts of merged and split earlier clusters.
        """
        summary = dict(commit.merge_complete(parts, self.names, len(self.names)).summary)
        for name in ("sentences", "sentences_encoded"):
            summary.pop(name)
        summary["pairs_read"] = summary.pop("rows_scored")
        shown = merge_notes(list(notes))
        page = cluster_page(summary, shown)
        manifest = commit.publish(
            self.claim,
            summary,
            header={
                **self.header,
                **{name: shown[name] for name in ("largest_cluster", "too_large")},
                **{name: shown[name] for name in shown if name.startswith("clusters_")},
                "seconds": round(time.time() - self.started, 3),
            },
            pages={PAGE: page.encode()},
            gates=commit.Gates(self.max_reject_fraction),
        )
        files.delete_folder(self.exchange)
        return manifest


def merge_notes(notes: list[dict[str, Any]]) -> dict[str, Any]:
    """What is shown of all buckets together."""
    counts: Counter[str] = Counter()
    for note in notes:
        counts.update({name: n for name, n in note.items() if name.startswith("clusters_")})
    found = {
        name: [cluster for note in notes for cluster in note.get(name, ())]
        for name in ("largest", "loosest", "too_large")
    }
    largest = sorted(found["largest"], key=lambda c: (-c["size"], c["cluster_id"]))
    sizes = [
        sum(column) for column in zip_longest(*(n.get("sizes", ()) for n in notes), fillvalue=0)
    ]
    return {
        **counts,
        "sizes": sizes,
        "largest_cluster": largest[0]["size"] if largest else (1 if sum(sizes) else 0),
        "largest": largest[:SHOWN],
        "loosest": sorted(found["loosest"], key=lambda c: (c["weakest"], c["cluster_id"]))[:SHOWN],
        "too_large": sorted(found["too_large"], key=lambda c: (-c["size"], c["cluster_id"]))[
            :SHOWN
        ],
    }
