"""A worker pool beside a TaskManager: starts the Python processes that a Beam job asks for.

    python -m deploy.flink.worker_pool --host=127.0.0.1 --port=50000

Beam's own (`apache_beam.runners.worker.worker_pool_main`) listens on every address of the machine
and leaves its processes behind when it is killed; this one listens where it is told to, and its
processes end with it.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services
from apache_beam.runners.worker.worker_pool_main import kill_process_gracefully
from apache_beam.utils import thread_pool_executor

_PR_SET_PDEATHSIG = 1


class WorkerPool(services.BeamFnExternalWorkerPoolServicer):
    """Starts and stops workers, one process each."""

    def __init__(self) -> None:
        """Has no workers yet."""
        self._workers: dict[str, subprocess.Popen] = {}

    def StartWorker(self, request: api.StartWorkerRequest, _) -> api.StartWorkerResponse:
        """Starts a worker for a job."""
        self._reap()
        command = [sys.executable, "-m", __spec__.name, f"--parent={os.getpid()}"]
        command += [request.control_endpoint.url, request.worker_id]
        logging.info("starting worker %s", request.worker_id)
        self._workers[request.worker_id] = subprocess.Popen(command)
        return api.StartWorkerResponse()

    def StopWorker(self, request: api.StopWorkerRequest, _) -> api.StopWorkerResponse:
        """Stops a worker, whose job has ended."""
        worker = self._workers.pop(request.worker_id, None)
        if worker is not None:
            logging.info("stopping worker %s", request.worker_id)
            kill_process_gracefully(worker)
        return api.StopWorkerResponse()

    def _reap(self) -> None:
        """Forgets workers that ended by themselves."""
        self._workers = {name: each for name, each in self._workers.items() if each.poll() is None}


def work(parent: int, control: str, worker_id: str) -> None:
    """Is a worker, until its job or its pool ends."""
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else the pool ended before we had asked to end with it
        SdkHarness(
            control, worker_id=worker_id, state_cache_size=0, data_buffer_time_limit_ms=-1
        ).run()


def serve(host: str, port: int) -> grpc.Server:
    """Serves a pool.

    Raises:
        RuntimeError: another process listens there already.
    """
    options = [("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=options)
    server.add_insecure_port(f"{host}:{port}")
    services.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    server.start()
    return server


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=50000, help="port to listen at")
    parser.add_argument("--cores", help="for its workers, such as 0,2; all without it")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("worker", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args.parent, *args.worker)
    if args.cores:  # a worker encodes on as many cores as it may use
        os.sched_setaffinity(0, map(int, args.cores.split(",")))
    logging.basicConfig(level=logging.INFO)
    server = serve(args.host, args.port)
    logging.info("listening at %s:%d", args.host, args.port)
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    ended.wait()
    server.stop(0)


if __name__ == "__main__":
    main()
