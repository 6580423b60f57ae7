"""Makes clusters of similar pairs, with ids that stay from one run to the next.

Local: twinbeam cluster --input pairs --output clusters
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.clustering.make_clusters import make_clusters
from pipelines.options import command_line
from pipelines.options.cluster_options import parse


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Makes clusters, and returns the manifest."""
    return make_clusters(parse(sys.argv[1:] if argv is None else argv))


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
