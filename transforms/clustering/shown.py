"""What people are shown of clusters: their sizes, the largest, the loosest and those too large."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from transforms.clustering.weakest import Edges

SHOWN = 20  # clusters of each kind
EXAMPLES = 5


def summarise_clusters(named: pd.DataFrame, forest: Edges) -> pd.DataFrame:
    """`cluster_id`, `size` and `weakest` (the similarity it falls apart at) of each cluster."""
    grouped = named.groupby("cluster", sort=True)
    summary = pd.DataFrame(
        {"cluster_id": grouped["cluster_id"].first(), "size": grouped["cluster_size"].first()}
    )
    of_node = pd.Series(named["cluster"].to_numpy(), index=named["node"].to_numpy(np.uint64))
    weakest = pd.Series(forest.weights).groupby(
        of_node.reindex(forest.ends[:, 0]).to_numpy()
    ).min()  # fmt: skip
    summary["weakest"] = weakest.reindex(summary.index)
    return summary


def describe(
    named: pd.DataFrame, summary: pd.DataFrame, forest: Edges, most: int | None
) -> dict[str, Any]:
    """What a page shows of a bucket: sizes, the largest, the loosest, and those too large."""
    several = summary[summary["size"] > 1]
    largest = several.sort_values(["size", "cluster_id"], ascending=[False, True]).head(SHOWN)
    loosest = several.sort_values(["weakest", "cluster_id"]).head(SHOWN)
    large = summary[summary["size"] > (most or len(named))]
    sizes = np.bincount(np.log2(summary["size"].to_numpy(np.int64)).astype(np.int64))
    return {
        "sizes": sizes.tolist(),
        "largest": [_shown(cluster, summary, named) for cluster in largest.index],
        "loosest": [_shown(cluster, summary, named) for cluster in loosest.index],
        "too_large": [
            _shown(cluster, summary, named) | {"weakest_edges": _weakest(cluster, named, forest)}
            for cluster in large.sort_values("size", ascending=False).head(SHOWN).index
        ],
    }


def _shown(cluster: Any, summary: pd.DataFrame, named: pd.DataFrame) -> dict[str, Any]:
    # Cell by cell: a row of whole numbers and floats would make floats of the ids.
    weakest = summary.at[cluster, "weakest"]
    shown = "sentence" if "sentence" in named else "id"
    texts = named.loc[named["cluster"] == cluster, shown].drop_duplicates().head(EXAMPLES)
    return {
        "cluster_id": str(summary.at[cluster, "cluster_id"]),
        "size": int(summary.at[cluster, "size"]),
        "weakest": None if pd.isna(weakest) else round(float(weakest), 4),
        "examples": [str(text) for text in texts],
    }


def _weakest(cluster: Any, named: pd.DataFrame, forest: Edges) -> list[dict[str, Any]]:
    """The ids and similarities of the weakest edges that hold a cluster together."""
    inside = named[named["cluster"] == cluster].set_index("node")["id"]
    held = np.flatnonzero(np.isin(forest.ends[:, 0], inside.index.to_numpy(np.uint64)))[::-1]
    return [
        {
            "id1": str(min(inside[forest.ends[edge, 0]], inside[forest.ends[edge, 1]])),
            "id2": str(max(inside[forest.ends[edge, 0]], inside[forest.ends[edge, 1]])),
            "similarity": round(float(forest.weights[edge]), 4),
        }
        for edge in held[:EXAMPLES]
    ]
