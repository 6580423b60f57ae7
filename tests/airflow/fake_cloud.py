"""The stand-ins for Google Cloud, in a process of the project's own Python.

python -m tests.airflow.fake_cloud prints where they are, as JSON, and does what it is told on its
input: a line of JSON, `[name, argument…]`, gets a line of JSON back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class FakeCloud:
    """What the tests see of it, from Airflow's Python."""

    def __init__(self, python: str):
        self.process = subprocess.Popen(
            [python, "-m", "tests.airflow.fake_cloud"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.description = json.loads(self.process.stdout.readline())

    def ask(self, what: str, *arguments: Any) -> Any:
        self.process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def serve() -> None:
    """Starts the stand-ins and answers until the input ends."""
    from tests.cloud.dataflow_service import DONE, RUNNING
    from tests.cloud.fakes import BUCKET, PROJECT, REGION, fake_cloud
    from tests.cloud.run_job import run_job

    with fake_cloud() as cloud:
        os.environ.update(cloud.environment)
        service = cloud.dataflow
        service.states = [RUNNING]  # a job runs until it is told to work, or is cancelled
        description = {"environment": cloud.environment, "endpoint": cloud.dataflow_url}
        description |= {"bucket": f"gs://{BUCKET}", "project": PROJECT, "region": REGION}
        print(json.dumps(description), flush=True)
        for line in sys.stdin:
            what, *arguments = json.loads(line)
            answer: Any = None
            if what == "upload":
                folder, to = Path(arguments[0]), arguments[1]
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        cloud.write(f"{to}/{path.relative_to(folder)}", path.read_bytes())
            elif what == "download":
                for name in cloud.names(arguments[0]):
                    target = Path(arguments[1]) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(cloud.read(f"{arguments[0]}/{name}"))
            elif what == "work":  # what a running job is there for; then it is done
                for job in service.jobs:
                    if job.state == RUNNING:
                        run_job(job.request)
                        job.states = [DONE]
            elif what == "jobs":
                answer = [
                    {"id": job.id, "state": job.state, "request": job.request}
                    for job in service.jobs
                ]
            elif what == "job":
                answer = service.job(arguments[0]).described()
            elif what == "forget":
                service.jobs.clear()
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
