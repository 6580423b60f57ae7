"""The tasks that find which cluster descends from which earlier one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from transforms.clustering import identity
from transforms.clustering.clusters import ClusterSettings, as_frame, gather_clusters
from transforms.clustering.graph_tables import node_numbers
from transforms.storage.exchange import Exchange


def claim(bucket: int, exchange: Exchange, settings: ClusterSettings) -> int:
    """Hands on what the clusters of a bucket hold of earlier ones, by the earlier one.

    Returns:
        How many of them hold rows of several.
    """
    done = exchange.done("claims", bucket)
    if done is not None:
        return done["merged"]
    gathered = gather_clusters(bucket, exchange, settings)
    if gathered is None:
        exchange.write(
            "claims", bucket, pa.table({"home": []}), np.zeros(0, np.uint64), {"merged": 0}
        )
        return 0
    found = identity.claims(gathered.members)
    numbers = node_numbers(_as_ids(found["previous"], gathered.schema))
    table = pa.table(
        {
            "home": np.full(len(found), bucket),
            "cluster": found["cluster"].to_numpy(np.uint64),
            "previous": _as_ids(found["previous"], gathered.schema),
            "rows": found["rows"].to_numpy(np.int64),
            "least": _as_ids(found["least"], gathered.schema),
            "holds": found["holds"].to_numpy(bool),
        }
    )
    merged = int((found.groupby("cluster").size() > 1).sum())
    exchange.write("claims", bucket, table, exchange.buckets_of(numbers), {"merged": merged})
    return merged


def follow_claims(bucket: int, exchange: Exchange) -> int:
    """Decides which cluster inherits each earlier one of a bucket, and hands that on.

    Returns:
        How many earlier clusters are in several clusters now.
    """
    done = exchange.done("heirs", bucket)
    if done is not None:
        return done["split"]
    table = exchange.read("claims", range(exchange.buckets), bucket)
    if table is None or not table.num_rows:
        exchange.write(
            "heirs", bucket, pa.table({"home": []}), np.zeros(0, np.uint64), {"split": 0}
        )
        return 0
    found = as_frame(table)
    found["place"] = np.arange(len(found))
    won = table.take(pa.array(identity.heirs(found)["place"].to_numpy()))
    split = int((found.groupby("previous").size() > 1).sum())
    exchange.write("heirs", bucket, won, won["home"].to_numpy(), {"split": split})
    return split


def _as_ids(values: pd.Series, schema: pa.Schema) -> pa.Array:
    return pa.array(values, schema.field("id").type, from_pandas=True)
