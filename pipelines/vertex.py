"""Submits training as a Vertex AI custom job: a chief and workers, each with its GPUs.

twinbeam vertex --image IMAGE --examples gs://b/examples --output gs://b/bundle \
    --project P --region europe-west4 --workers 2 --accelerator NVIDIA_L4 --dry_run

Vertex gives each machine its TF_CONFIG, by which `pipelines.train` chooses its strategy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pipelines.options import command_line, shared_flags, train_options
from pipelines.options.parser import CommandParser
from transforms.errors import RunError, UserError
from transforms.storage import gcs

EXAMPLE = (
    "twinbeam vertex --project my-project --region europe-west4 \\\n"
    "      --image europe-west4-docker.pkg.dev/my-project/twinbeam/worker:gpu \\\n"
    "      --examples gs://my-bucket/examples --output gs://my-bucket/bundle \\\n"
    "      --workers 2 --accelerator NVIDIA_L4 --machine g2-standard-8 --dry_run"
)
COMMAND = ["python", "-m", "pipelines.train"]


@dataclass(frozen=True)
class VertexJob:
    """What is to run, and on which machines; `train_flags` are those of `pipelines.train`."""

    image: str
    project: str
    region: str
    train_flags: tuple[str, ...]
    name: str = "twinbeam-train"
    workers: int = 1
    machine: str = "n1-standard-8"
    accelerator: str | None = "NVIDIA_TESLA_T4"
    accelerators: int = 1
    boot_disk_gb: int = 100
    max_hours: int = 24
    spot: bool = False
    service_account: str | None = None

    @property
    def parent(self) -> str:
        """Where the job is created."""
        return f"projects/{self.project}/locations/{self.region}"


def run(argv: Sequence[str] | None = None) -> str | None:
    """Submits the job, and returns its name; with `--dry_run` prints the request instead."""
    args, rest = flags().parse_known_args(list(sys.argv[1:] if argv is None else argv))
    job = read_job(args, rest)
    if args.dry_run:
        print(json.dumps({"parent": job.parent, "customJob": custom_job(job)}, indent=2))
        return None
    name = submit(job, endpoint=args.endpoint)
    print(
        f"submitted {name}\n"
        f"follow it: gcloud ai custom-jobs stream-logs {name}\n"
        f"stop it:   gcloud ai custom-jobs cancel {name}"
    )
    return name


def read_job(args: argparse.Namespace, rest: Sequence[str]) -> VertexJob:
    """The job that the flags ask for; those that are left over are checked as training's.

    Raises:
        UserError: a folder that the machines of the job would not see.
    """
    checkpoints = args.checkpoints or f"{args.output.rstrip('/')}-checkpoints"
    folders = {"examples": args.examples, "output": args.output, "checkpoints": checkpoints}
    for flag, folder in folders.items():
        if not folder.startswith("gs://"):
            raise UserError(
                f"--{flag} must be a gs:// folder, which every machine of the job sees; "
                f"received {folder!r}"
            )
    flags = [f"--{flag}={folder}" for flag, folder in folders.items()] + list(rest)
    train_options.parse(flags)
    wanted = None if args.accelerator == "none" else args.accelerator
    return VertexJob(
        image=args.image,
        project=args.project,
        region=args.region,
        train_flags=tuple(flags),
        name=args.name,
        workers=args.workers,
        machine=args.machine,
        accelerator=wanted,
        accelerators=args.accelerators,
        boot_disk_gb=args.boot_disk_gb,
        max_hours=args.max_hours,
        spot=args.spot,
        service_account=args.service_account,
    )


def custom_job(job: VertexJob) -> dict[str, Any]:
    """The job as the service's JSON: the chief is a pool of one, the workers are another."""
    counts = [1] + ([job.workers - 1] if job.workers > 1 else [])
    scheduling: dict[str, Any] = {
        "timeout": f"{job.max_hours * 3600}s",
        # A lost worker breaks the collectives of all: they start together, from the checkpoint.
        "restartJobOnWorkerRestart": job.workers > 1,
    }
    if job.spot:
        scheduling["strategy"] = "SPOT"
    spec: dict[str, Any] = {
        "workerPoolSpecs": [_pool(job, count) for count in counts],
        "scheduling": scheduling,
    }
    if job.service_account:
        spec["serviceAccount"] = job.service_account
    return {"displayName": job.name, "jobSpec": spec, "labels": {"application": "twinbeam"}}


def _pool(job: VertexJob, count: int) -> dict[str, Any]:
    machine: dict[str, Any] = {"machineType": job.machine}
    if job.accelerator:
        machine |= {"acceleratorType": job.accelerator, "acceleratorCount": job.accelerators}
    return {
        "machineSpec": machine,
        "replicaCount": str(count),  # int64 is text in the service's JSON
        "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": job.boot_disk_gb},
        "containerSpec": {
            "imageUri": job.image,
            "command": COMMAND,
            "args": list(job.train_flags),
            "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        },
    }


def submit(job: VertexJob, *, endpoint: str | None = None) -> str:
    """Creates the job and gives its resource name.

    Raises:
        UserError: the client is not installed, there are no credentials, or it does not know
            the accelerator.
        RunError: the service refused the job, or does not respond.
    """
    if find_spec("google.cloud.aiplatform_v1") is None:
        raise UserError(
            "submitting to Vertex AI needs the package google-cloud-aiplatform; install it with "
            "pip install 'twinbeam[vertex]', or take --dry_run and send the request yourself"
        )
    credentials = gcs.find_credentials()  # before the client, which takes seconds to import
    import google.cloud.aiplatform_v1 as aiplatform_v1
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError
    from google.protobuf.json_format import ParseError

    try:
        request = aiplatform_v1.CustomJob.from_json(json.dumps(custom_job(job)))
    except ParseError as error:
        known = (name for name in aiplatform_v1.AcceleratorType.__members__ if "UNSPEC" not in name)
        raise UserError(
            f"Vertex AI's client does not know this job ({error}); --accelerator may be none or "
            f"one of {', '.join(known)}"
        ) from None
    try:
        client = aiplatform_v1.JobServiceClient(
            credentials=credentials,
            transport="rest",
            client_options={"api_endpoint": endpoint or f"{job.region}-aiplatform.googleapis.com"},
        )
        return client.create_custom_job(parent=job.parent, custom_job=request).name
    except GoogleAuthError as error:
        raise UserError(
            f"no Google credentials that work ({error}); "
            "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from None
    except GoogleAPICallError as error:
        raise RunError(f"Vertex AI did not accept the job: {error}") from None
    except OSError as error:  # requests' own errors are of this kind
        raise RunError(f"Vertex AI does not respond: {error}") from None


def flags() -> argparse.ArgumentParser:
    """All flags of `vertex`; what is not listed is a flag of training."""
    parser = CommandParser("vertex", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.epilog = f"Flags that are not listed go to twinbeam train.\n\nExample:\n  {EXAMPLE}"
    parser.add_argument(
        "--examples", required=True, metavar="DIR", help="gs:// --output of preprocess"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="gs:// folder of the bundle")
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="gs:// folder for checkpoints (default: OUTPUT-checkpoints)",
    )
    job = parser.add_argument_group("job")
    job.add_argument("--project", required=True, help="Google Cloud project")
    job.add_argument("--region", required=True, help="region of the machines")
    job.add_argument("--image", required=True, help="image of the scoring workers, with CUDA")
    job.add_argument("--name", default=VertexJob.name, help="name of the job")
    job.add_argument(
        "--workers",
        type=shared_flags.positive,
        default=1,
        help="number of machines, including the chief",
    )
    job.add_argument("--machine", default=VertexJob.machine, help="machine type of each machine")
    job.add_argument(
        "--accelerator", default=VertexJob.accelerator, help="GPUs of each machine, or none"
    )
    job.add_argument(
        "--accelerators",
        type=shared_flags.positive,
        default=1,
        help="number of GPUs in each machine",
    )
    job.add_argument(
        "--boot_disk_gb",
        type=shared_flags.positive,
        default=100,
        help="size of the boot disk, which holds the image and the examples",
    )
    job.add_argument(
        "--max_hours",
        type=shared_flags.positive,
        default=24,
        help="the job is cancelled after this many",
    )
    job.add_argument("--spot", action="store_true", help="cheaper machines that may be preempted")
    job.add_argument("--service_account", help="account with which the job accesses the buckets")
    job.add_argument("--endpoint", help="address of the service (default: the region's)")
    job.add_argument("--dry_run", action="store_true", help="print the request and exit")
    return parser


def main() -> int:
    """Exit code 0 submitted, 2 wrong use, 1 refused."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
