"""Shows clusters as one HTML file: their sizes, the largest, the loosest and those too large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STEP, _HEIGHT = 56, 140  # SVG units: of a bar, and of the tallest one

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Clusters</title>
<style>
:root { --page: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5b6675; --bar: #2f6fb0; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1a2029; --ink: #e6eaf0; --soft: #9aa6b5; --bar: #6aa7e0; }
}
body { margin: 0 auto; max-width: 56rem; padding: 1.25rem 1rem 3rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem; }
.soft { color: var(--soft); font-size: .9rem; } svg { width: 100%; height: auto; }
rect { fill: var(--bar); } text { fill: var(--soft); font-size: 11px; text-anchor: middle; }
table { width: 100%; border-collapse: collapse; background: var(--card); }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid color-mix(in srgb, var(--soft) 25%, transparent); }
td ul { margin: 0; padding-left: 1rem; }
</style>
</head>
<body>
"""


def cluster_page(counts: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """The page.

    Args:
        counts: sums of the accounts: rows and clusters.
        shown: see `pipelines.running.commit_clusters.merge_notes`.
    """
    rows, clusters = counts.get("rows_clustered", 0), counts.get("clusters", 0)
    alone = counts.get("clusters_of_one", 0)
    parts = [
        _PAGE,
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
    return "".join([*parts, "</body>\n</html>\n"])


def _bars(sizes: Sequence[int]) -> str:
    """How many clusters have 1 row, 2 or 3, 4 to 7, and so on."""
    tallest, width = max(sizes, default=0) or 1, _STEP * max(len(sizes), 1)
    parts = [f'<svg viewBox="0 0 {width} {_HEIGHT + 40}" role="img" aria-label="sizes">']
    for place, count in enumerate(sizes):
        height = round(_HEIGHT * count / tallest, 1)
        low, high = 2**place, 2 ** (place + 1) - 1
        name = f"{low}" if low == high else f"{low}–{high}"
        middle = _STEP * place + _STEP / 2
        parts.append(
            f'<rect x="{_STEP * place + 6}" y="{_HEIGHT + 14 - height}" width="{_STEP - 12}" '
            f'height="{height}"><title>{count:,} clusters of {name} rows</title></rect>'
            f'<text x="{middle}" y="{_HEIGHT + 10 - height}">{count:,}</text>'
            f'<text x="{middle}" y="{_HEIGHT + 30}">{name}</text>'
        )
    return "".join([*parts, "</svg>\n"])


def _table(clusters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td>{escape(cluster['cluster_id'])}</td>"
        f'<td class="number">{cluster["size"]:,}</td>'
        f'<td class="number">{_weakest(cluster)}</td>'
        f"<td>{_list(cluster['examples'])}</td></tr>\n"
        for cluster in clusters
    ]
    head = "<tr><th>cluster</th><th>rows</th><th>weakest edge</th><th>some of it</th></tr>\n"
    return f"<table>\n{head}{''.join(rows)}</table>\n"


def _weakest(cluster: Mapping[str, Any]) -> str:
    edges = [
        f"{escape(edge['id1'])} – {escape(edge['id2'])}: {edge['similarity']:.4f}"
        for edge in cluster.get("weakest_edges", ())
    ]
    weakest = cluster["weakest"]
    return "<br>".join(edges) or ("" if weakest is None else f"{weakest:.4f}")


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
