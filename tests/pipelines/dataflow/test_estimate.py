"""What a job would cost, against sums done by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines import score
from pipelines.dataflow import estimate
from pipelines.options import beam_interface
from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, pairs, write
from transforms.errors import UserError
from transforms.input.shards import Shard

ROOT = Path(__file__).resolve().parents[3]
PRICES = {
    "region": "here", "currency": "EUR", "vcpu_hour": 0.05, "memory_gb_hour": 0.004,
    "disk_gb_hour": 0.0001, "accelerator_hour": {"nvidia-l4": 0.5},
    "memory_gb_per_vcpu": {"n2-standard": 4}, "pairs_per_vcpu_second": {"score": 1000},
    "startup_minutes": 6, "default_machine": "n2-standard-2", "default_disk_gb": 30,
}  # fmt: skip


def shards(count: int, rows: int) -> list[Shard]:
    return [Shard("in", "f", f"{number}", 0, 1, rows) for number in range(count)]


def made(planned: list[Shard], *flags: str, speed: float | None = None) -> estimate.Estimate:
    return estimate.estimate(PRICES, "score", planned, beam_interface.beam_options(flags), speed)


def test_hours_and_costs_by_hand():
    # 10 shards of 7,200,000 rows on 5 machines of 4 vCPUs: 72 M rows / (1000 · 20) = 3600 s = 1 h,
    # and 0.1 h of start-up: 1.1 h · 5 machines = 5.5 machine hours = 22 vCPU hours.
    found = made(shards(10, 7_200_000), "--machine_type=n2-standard-4", "--max_num_workers=5")

    assert (found.rows, found.shards, found.workers, found.vcpus) == (72_000_000, 10, 5, 20)
    assert found.hours == pytest.approx(1.1) and found.vcpu_hours == pytest.approx(22)
    assert found.costs["vCPU"] == pytest.approx(22 * 0.05)
    assert found.costs["memory"] == pytest.approx(5.5 * 16 * 0.004)
    assert found.costs["disk"] == pytest.approx(5.5 * 30 * 0.0001)
    assert found.total == pytest.approx(1.1 + 0.352 + 0.0165)


def test_more_workers_than_shards_do_not_help():
    assert made(shards(3, 100), "--num_workers=50", "--max_num_workers=50").workers == 3
    assert made(shards(3, 100)).machine == "n2-standard-2"


def test_a_measured_speed_goes_before_the_files():
    slow, fast = (made(shards(1, 7_200_000), speed=speed) for speed in (500, 1000))
    assert slow.hours - 0.1 == pytest.approx(2 * (fast.hours - 0.1))


def test_gpus_are_paid_for_by_the_hour_of_a_worker():
    service = "--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:2;x"
    found = made(shards(1, 7_200_000), service)
    assert found.costs["GPU"] == pytest.approx(found.hours * 2 * 0.5)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--machine_type=z9-giant-4", "does not know the machine type 'z9-giant-4'"),
        ("--machine_type=custom", "it knows n2-standard-N"),
        (
            "--dataflow_service_options=worker_accelerator=type:nvidia-h900;count:1",
            "no price of nvidia-h900",
        ),
    ],
)
def test_what_has_no_price_is_reported(flag: str, message: str):
    with pytest.raises(UserError, match=message):
        made(shards(1, 100), flag)


def test_a_prices_file_that_lacks_something(tmp_path: Path):
    path = tmp_path / "prices.yaml"
    path.write_text(yaml.safe_dump({key: PRICES[key] for key in PRICES if key != "vcpu_hour"}))
    with pytest.raises(UserError, match="lacks 'vcpu_hour'"):
        estimate.read_prices(str(path))
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        estimate.read_prices(str(path))
    path.write_text("- vcpu_hour")
    with pytest.raises(UserError, match="contains no keys and values"):
        estimate.read_prices(str(path))


def test_our_own_file_has_a_price_for_all_it_names():
    prices = estimate.read_prices(str(estimate.PRICES))
    assert {"score", "preprocess", "find"} == prices["pairs_per_vcpu_second"].keys()
    assert all(price > 0 for price in prices["accelerator_hour"].values())


def test_our_prices_are_those_that_beam_keeps():
    from apache_beam.testing.load_tests import dataflow_cost_consts as beam

    prices = estimate.read_prices(str(estimate.PRICES))
    assert prices["vcpu_hour"] == beam.VCPU_PER_HR_BATCH
    assert prices["memory_gb_hour"] == beam.MEM_PER_GB_HR_BATCH
    assert prices["disk_gb_hour"] == beam.PD_PER_GB_HR
    assert prices["accelerator_hour"] == {
        "nvidia-tesla-t4": beam.T4_PER_GPU_PER_HOUR,
        "nvidia-tesla-p4": beam.P4_PER_GPU_PER_HOUR,
        "nvidia-tesla-p100": beam.P100_PER_GPU_PER_HOUR,
        "nvidia-tesla-v100": beam.V100_PER_GPU_PER_HOUR,
        "nvidia-l4": beam.L4_PER_GPU_PER_HOUR,
        "nvidia-tesla-a100": beam.A100_40GB_PER_GPU_PER_HOUR,
        "nvidia-a100-80gb": beam.A100_80GB_PER_GPU_PER_HOUR,
    }


def test_our_speeds_are_those_that_were_measured():
    """A core's part of what two cores did, and no more: the estimate must not promise too much."""
    speeds = estimate.read_prices(str(estimate.PRICES))["pairs_per_vcpu_second"]
    results = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    slowest = results.split("### no repeats")[1].split("| ours | ")[1].split(" | ")[1]
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    preprocessing = re.search(r"benchmarks\.preprocess .*? ([\d,]+)\s+pairs/s", page, re.S)
    for step, two_cores in (("score", slowest), ("preprocess", preprocessing[1])):
        core = int(two_cores.replace(",", "")) / 2
        assert 0.8 * core < speeds[step] <= core, step


def test_the_command_reads_the_footers_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    write(tmp_path / "a.parquet", pairs(1000), row_group_size=250)
    flags = ["--input", f"{tmp_path}/a.parquet", "--model", "m", "--output", f"{tmp_path}/out"]

    found = score.run([*flags, "--shard_rows=500", "--estimate", "--max_num_workers=9"])

    assert (found["rows"], found["shards"], found["workers"]) == (1000, 2, 2)
    assert "1,000 pairs in 2 shards" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
