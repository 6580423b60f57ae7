"""Shows clusters as one HTML file: their sizes, the largest, the loosest and those too large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pipelines.report.html_page import static_page, table

_STEP, _HEIGHT = 56, 140  # SVG units: of a bar, and of the tallest one


def cluster_page(counts: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """The page.

    Args:
        counts: sums of the accounts: rows and clusters.
        shown: see `pipelines.clustering.commit_clusters.merge_notes`.
    """
    rows, clusters = counts.get("rows_clustered", 0), counts.get("clusters", 0)
    alone = counts.get("clusters_of_one", 0)
    parts = [
        f"<h1>{clusters:,} clusters of {rows:,} rows</h1>\n",
        f'<p class="soft">{clusters - alone:,} clusters of several rows, {alone:,} of one; the '
        f"largest has {shown['largest_cluster']:,}. A cluster falls apart where the least "
        "similarity asked for rises above its weakest edge: the weakest of the strongest edges "
        "that hold it together.</p>\n",
        "<h2>Sizes</h2>\n",
        _bars(shown["sizes"]),
    ]
    for title, name in (
        ("Too large", "too_large"),
        ("The largest", "largest"),
        ("The loosest", "loosest"),
    ):
        if shown[name]:
            parts.append(f"<h2>{title}</h2>\n{_table(shown[name])}")
    return static_page("Clusters", "".join(parts))


def _bars(sizes: Sequence[int]) -> str:
    """How many clusters have 1 row, 2 or 3, 4 to 7, and so on."""
    tallest, width = max(sizes, default=0) or 1, _STEP * max(len(sizes), 1)
    parts = [
        f'<svg viewBox="0 0 {width} {_HEIGHT + 40}" style="max-width: {width}px" role="img" '
        'aria-label="sizes">'
    ]
    for place, count in enumerate(sizes):
        height = round(_HEIGHT * count / tallest, 1)
        low, high = 2**place, 2 ** (place + 1) - 1
        name = f"{low}" if low == high else f"{low}–{high}"
        middle = _STEP * place + _STEP / 2
        parts.append(
            f'<rect class="bar zero" x="{_STEP * place + 6}" y="{_HEIGHT + 14 - height}" '
            f'width="{_STEP - 12}" height="{height}">'
            f"<title>{count:,} clusters of {name} rows</title></rect>"
            f'<text class="tick" x="{middle}" y="{_HEIGHT + 10 - height}">{count:,}</text>'
            f'<text class="tick" x="{middle}" y="{_HEIGHT + 30}">{name}</text>'
        )
    return f'<figure class="card">{"".join(parts)}</svg></figure>\n'


def _table(clusters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [
            escape(cluster["cluster_id"]),
            f"{cluster['size']:,}",
            _weakest(cluster),
            _list(cluster["examples"]),
        ]
        for cluster in clusters
    ]
    return table(["cluster", "rows", "weakest edge", "some of it"], rows, words=(0, 3))


def _weakest(cluster: Mapping[str, Any]) -> str:
    edges = [
        f"{escape(edge['id1'])} – {escape(edge['id2'])}: {edge['similarity']:.4f}"
        for edge in cluster.get("weakest_edges", ())
    ]
    weakest = cluster["weakest"]
    return "<br>".join(edges) or ("" if weakest is None else f"{weakest:.4f}")


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
