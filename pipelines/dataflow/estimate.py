"""What a job on Dataflow would take and cost, estimated before it is submitted.

Rows and shards come from the footers of the input; speed and unit prices from a file. It is an
estimate: autoscaling, retries, shuffled data and storage are left out.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from transforms.input.shards import Shard

PRICES = Path(__file__).with_name("prices.yaml")
_MACHINE = re.compile(r"(.+)-(\d+)")


@dataclass(frozen=True)
class EstimateOptions:
    """Whether an estimate is wanted, and what it is made from."""

    wanted: bool = False
    prices: str = str(PRICES)
    pairs_per_second: float | None = None

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> EstimateOptions:
        """What the flags say."""
        return cls(args.estimate, args.prices or str(PRICES), args.pairs_per_second)


@dataclass(frozen=True)
class Estimate:
    """What a job would take.

    Attributes:
        rows: pairs of the input.
        shards: units of work.
        machine: type of a worker.
        workers: how many.
        vcpus: of all workers.
        hours: from start to end.
        vcpu_hours: what all vCPUs are paid for.
        costs: by kind, in `currency`.
        currency: of the costs.
    """

    rows: int
    shards: int
    machine: str
    workers: int
    vcpus: int
    hours: float
    vcpu_hours: float
    costs: dict[str, float]
    currency: str

    @property
    def total(self) -> float:
        """All costs."""
        return sum(self.costs.values())

    def format(self, source: str) -> str:
        """For a person; `source` is where the prices come from."""
        parts = ", ".join(f"{kind} {cost:.2f}" for kind, cost in self.costs.items())
        return (
            f"{self.rows:,} pairs in {self.shards:,} shards\n"
            f"{self.workers:,} workers of {self.machine}, {self.vcpus:,} vCPUs: about "
            f"{self.hours:.2f} hours, {self.vcpu_hours:.2f} vCPU hours\n"
            f"about {self.total:.2f} {self.currency} ({parts}) by the prices and speeds of {source}"
            "\nan estimate: retries, autoscaling, shuffled data and storage are left out; "
            "nothing was submitted"
        )


def add_flags(to: argparse.ArgumentParser) -> None:
    """Adds the flags of an estimate."""
    group = to.add_argument_group("estimate")
    group.add_argument(
        "--estimate",
        action="store_true",
        help="print what the job would take and cost on Dataflow, and exit",
    )
    group.add_argument(
        "--prices", metavar="FILE", help="unit prices, YAML (default: the built-in ones)"
    )
    group.add_argument(
        "--pairs_per_second",
        type=above_zero,
        help="speed of one vCPU that you measured (default: that of the prices file)",
    )


def above_zero(text: str) -> float:
    """A flag's number above 0: nan and infinity are none."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, received {text}")
    return number


def print_estimate(
    estimating: EstimateOptions, step: str, shards: Sequence[Shard], options: PipelineOptions
) -> Estimate:
    """Prints the estimate for a step over these shards; returns it.

    Raises:
        UserError: the file lacks a price that is needed.
    """
    found = estimate(
        read_prices(estimating.prices), step, shards, options, estimating.pairs_per_second
    )
    print(found.format(Path(estimating.prices).name))
    return found


def read_prices(path: str) -> dict[str, Any]:
    """The prices file.

    Raises:
        UserError: it is not there, or not such a file.
    """
    import yaml  # help reads no prices

    try:
        found = yaml.safe_load(files.read_bytes(path))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"--prices {path} cannot be read: {files.reason(error)}") from None
    if not isinstance(found, dict):
        raise UserError(f"--prices {path} contains no keys and values; start from {PRICES}")
    missing = yaml.safe_load(PRICES.read_bytes()).keys() - found.keys()
    if missing:
        raise UserError(f"--prices {path} lacks {min(missing)!r}; start from {PRICES}")
    return found


def estimate(
    prices: dict[str, Any],
    step: str,
    shards: Sequence[Shard],
    options: PipelineOptions,
    pairs_per_second: float | None = None,
) -> Estimate:
    """Time and costs of a step; the workers are those that the options ask for.

    Args:
        prices: as in the file.
        step: score or preprocess.
        shards: the plan.
        options: with machine, workers, disk and accelerator.
        pairs_per_second: of one vCPU, instead of what the file says.
    """
    from apache_beam.options.pipeline_options import WorkerOptions

    worker_options = options.view_as(WorkerOptions)
    machine = worker_options.machine_type or prices["default_machine"]
    vcpus, memory = _machine(machine, prices)
    workers = min(
        worker_options.max_num_workers or worker_options.num_workers or 1, max(len(shards), 1)
    )
    rows = sum(shard.rows for shard in shards)
    speed = (pairs_per_second or prices["pairs_per_vcpu_second"][step]) * vcpus * workers
    hours = rows / speed / 3600 + prices["startup_minutes"] / 60
    worker_hours = workers * hours
    disk = worker_options.disk_size_gb or prices["default_disk_gb"]
    costs = {
        "vCPU": worker_hours * vcpus * prices["vcpu_hour"],
        "memory": worker_hours * memory * prices["memory_gb_hour"],
        "disk": worker_hours * disk * prices["disk_gb_hour"],
        **_accelerators(options, prices, worker_hours),
    }
    vcpu_hours = worker_hours * vcpus
    return Estimate(
        rows, len(shards), machine, workers, vcpus * workers, hours, vcpu_hours, costs,
        prices["currency"],
    )  # fmt: skip


def _machine(name: str, prices: dict[str, Any]) -> tuple[int, float]:
    """Counts a machine type's vCPUs, and its memory in GB."""
    parts = _MACHINE.fullmatch(name)
    family = prices["memory_gb_per_vcpu"].get(parts[1]) if parts else None
    if parts is None or family is None:
        known = ", ".join(f"{family}-N" for family in prices["memory_gb_per_vcpu"])
        raise UserError(
            f"the prices file does not know the machine type {name!r}; it knows {known}; add "
            "its family to memory_gb_per_vcpu"
        )
    return int(parts[2]), int(parts[2]) * family


def _accelerators(
    options: PipelineOptions, prices: dict[str, Any], worker_hours: float
) -> dict[str, float]:
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    for option in options.view_as(GoogleCloudOptions).dataflow_service_options or []:
        wanted = re.match(r"worker_accelerator=type:([^;]+);count:(\d+)", option)
        if wanted:
            if wanted[1] not in prices["accelerator_hour"]:
                raise UserError(f"the prices file has no price of {wanted[1]}; add it")
            hour = prices["accelerator_hour"][wanted[1]]
            return {"GPU": worker_hours * int(wanted[2]) * hour}
    return {}
