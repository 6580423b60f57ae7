"""Time and peak memory of `pipelines.label` as the scored pairs grow, on made-up scores.

python -m benchmarks.label --rows 1000000 10000000
"""

from __future__ import annotations

from benchmarks.evaluation import measure_growth

if __name__ == "__main__":
    measure_growth(__doc__ or "", [1_000_000, 10_000_000], ["pipelines.label", "--pairs", "500"])
