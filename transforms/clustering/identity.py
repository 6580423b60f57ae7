"""Stable cluster ids: an unchanged cluster keeps its id from one night to the next.

A new cluster gets the least id of its rows. One that has a past keeps the id of its
past: that of the earlier cluster whose name-giving row it holds or, where that row is gone, of the
earlier cluster of which it holds the most rows. So no two clusters can have one id: it is the id of
one of the cluster's own rows, or of a row that no longer exists.
"""

from __future__ import annotations

import pandas as pd


def claims(members: pd.DataFrame) -> pd.DataFrame:
    """What each cluster holds of each earlier one.

    Args:
        members: `cluster` (a number), `id` and `previous` (the id of the earlier cluster, or null)
            of each row, all rows of a cluster among them.

    Returns:
        `cluster`, `previous`, `rows` (how many it holds), `least` (the least id of the cluster),
        `holds` (whether the row that gave the earlier cluster its name is among them).
    """
    known = members.dropna(subset=["previous"])
    least = members.groupby("cluster")["id"].min()
    named = pd.MultiIndex.from_frame(members[["cluster", "id"]])
    counted = known.groupby(["cluster", "previous"], sort=True).size().reset_index(name="rows")
    counted["least"] = counted["cluster"].map(least)
    counted["holds"] = pd.MultiIndex.from_frame(counted[["cluster", "previous"]]).isin(named)
    return counted


def heirs(claimed: pd.DataFrame) -> pd.DataFrame:
    """Of all claims to some earlier clusters, those that win: one for each earlier cluster."""
    order = ["previous", "holds", "rows", "least"]
    ranked = claimed.sort_values(order, ascending=[True, False, False, True], kind="stable")
    return ranked.drop_duplicates("previous")


def cluster_ids(least: pd.Series, won: pd.DataFrame) -> pd.Series:
    """The id of each cluster.

    Args:
        least: the least id of each cluster, by its number.
        won: what `heirs` gave to these clusters.

    Returns:
        The id by the cluster's number.
    """
    order = ["cluster", "holds", "rows", "previous"]
    best = won.sort_values(order, ascending=[True, False, False, True], kind="stable")
    inherited = best.drop_duplicates("cluster").set_index("cluster")["previous"]
    return inherited.reindex(least.index).where(lambda s: s.notna(), least)


def changes(claimed: pd.DataFrame, won: pd.DataFrame) -> dict[str, int]:
    """How many earlier clusters were split, and how many clusters were merged of several."""
    return {
        "clusters_split": int((claimed.groupby("previous").size() > 1).sum()),
        "clusters_merged": int((claimed.groupby("cluster").size() > 1).sum()),
    }
