"""Starts and stops a standalone Flink cluster on this machine's loopback, for tests and trials.

    python -m deploy.flink.cluster up [--task_managers=2] [--slots=2]
    python -m deploy.flink.cluster status
    python -m deploy.flink.cluster down

One JobManager, TaskManagers, and a worker pool beside each. `up` starts what is missing and leaves
the rest alone, so it also repairs a cluster that lost a process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.flink import jars

PORT = int(os.environ.get("TWINBEAM_FLINK_PORT", "8081"))  # another one for a second cluster
RUN = jars.HOME / ("run" if PORT == 8081 else f"run-{PORT}")
CONF = RUN / "conf"
PROCESSES = RUN / "processes.json"
REST = f"http://127.0.0.1:{PORT}"
RPC_PORT = PORT - 8081 + 6123
POOL_PORT = PORT - 8081 + 50000
JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
# Flink and its serialiser look into Java's own classes; Java 17 has to be asked for that.
_OPENED = ("lang", "lang.reflect", "io", "net", "nio", "text", "time", "util", "util.concurrent")
_JAVA = (
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED),
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
)


@dataclass(frozen=True)
class Process:
    """A process of the cluster; the start time distinguishes it from a later one with its id."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return _started(self.pid) == self.started

    def stop(self, how: signal.Signals = signal.SIGTERM, wait: float = 20.0) -> None:
        """Sends it a signal and waits for its end, which SIGKILL brings in the end."""
        if not self.alive:
            return
        os.kill(self.pid, how)
        if not _until(lambda: not self.alive, wait):
            os.kill(self.pid, signal.SIGKILL)
            _until(lambda: not self.alive, 10)


@dataclass(frozen=True)
class Cluster:
    """What a cluster consists of.

    Attributes:
        task_managers: how many TaskManagers, each with a worker pool.
        slots: task slots of each; the SDK worker beside it takes the work of all of them.
        parallelism: of a job that does not say; without it one slot of each TaskManager.
    """

    task_managers: int = 2
    slots: int = 2
    parallelism: int | None = None

    def config(self) -> dict[str, Any]:
        """Flink's configuration; memory is for a small machine, Python's comes on top."""
        return {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": RPC_PORT,
            "jobmanager.bind-host": "127.0.0.1",
            "jobmanager.execution.failover-strategy": "region",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": PORT,
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": self.slots,
            "taskmanager.load-balance.mode": "SLOTS",  # spread tasks: a worker pool is used by all
            "parallelism.default": self.parallelism or self.task_managers,
            "taskmanager.cpu.cores": float(self.slots),
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.task.heap.size": "256m",
            "taskmanager.memory.task.off-heap.size": "0m",
            # tf.Transform's graph comes to over a hundred tasks, each with buffers of its own.
            "taskmanager.memory.network.min": "256m",
            "taskmanager.memory.network.max": "256m",
            "taskmanager.network.sort-shuffle.min-buffers": 64,
            "taskmanager.memory.managed.size": "192m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            # A killed process is noticed within seconds, and the job resumes when it is back.
            "heartbeat.interval": 2000,
            "heartbeat.timeout": 10000,
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 8,
            "restart-strategy.fixed-delay.delay": "10 s",  # a pool needs time to come back
            "io.tmp.dirs": str(RUN / "tmp"),
        }

    def commands(self, flink: str) -> dict[str, list[str]]:
        """The cluster's processes, by name; `flink` is the class path of Flink."""
        java = ["java", *_JAVA, f"-Dlog4j.configurationFile={CONF}/log4j2.properties", "-cp", flink]
        config = ["--configDir", str(CONF)]
        commands = {"job-manager": [*java, "-Xmx384m", JOB_MANAGER, *config]}
        for number in range(1, self.task_managers + 1):
            # Each TaskManager finds its own pool at localhost, as it would on a machine of its own.
            own = ["-Xmx384m", "-XX:MaxDirectMemorySize=448m", "-XX:MaxMetaspaceSize=256m"]
            own += [f"-Djdk.net.hosts.file={CONF}/hosts-{number}"]
            name = f"task-manager-{number}"
            named = ["-D", f"taskmanager.resource-id={name}"]
            commands[name] = [*java, *own, TASK_MANAGER, *config, *named]
            listen = [f"--host={_pool_host(number)}", f"--port={POOL_PORT}"]
            listen += [f"--cores={_cores(number, self.task_managers)}"]
            pool = [sys.executable, "-m", "deploy.flink.worker_pool", *listen]
            commands[f"worker-pool-{number}"] = pool
        return commands

    def write_config(self) -> None:
        """Writes what the processes read when they start."""
        CONF.mkdir(parents=True, exist_ok=True)
        lines = [f"{key}: {value}\n" for key, value in self.config().items()]
        (CONF / "flink-conf.yaml").write_text("".join(lines))
        (CONF / "log4j2.properties").write_text(_LOG4J)
        for number in range(1, self.task_managers + 1):
            (CONF / f"hosts-{number}").write_text(f"{_pool_host(number)} localhost\n")


def _pool_host(number: int) -> str:
    return f"127.0.0.{number + 1}"


def _cores(number: int, pools: int) -> str:
    """A pool's share of the cores: together they use each once, as long as there are enough."""
    cores = sorted(os.sched_getaffinity(0))
    own = cores[number - 1 :: pools] or [cores[(number - 1) % len(cores)]]
    return ",".join(map(str, own))


_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = Out
appender.out.name = Out
appender.out.type = CONSOLE
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


def processes() -> dict[str, Process]:
    """The processes that were started, alive or not."""
    if not PROCESSES.exists():
        return {}
    return {name: Process(**each) for name, each in json.loads(PROCESSES.read_text()).items()}


def up(cluster: Cluster) -> dict[str, Process]:
    """Starts what is missing and waits until the cluster can take a job.

    Raises:
        SystemExit: it does not come up.
    """
    fetched = jars.fetch()
    cluster.write_config()
    running = {name: each for name, each in processes().items() if each.alive}
    for name, command in cluster.commands(jars.classpath(fetched, "cluster")).items():
        if name not in running:
            running[name] = _start(name, command)
            _remember(running)
        if name == "job-manager":  # a TaskManager that does not find it asks again after 10 s only
            _until(lambda: bool(overview()), 60, [running[name]])
    slots = cluster.task_managers * cluster.slots

    def ready() -> bool:
        return overview().get("slots-total", 0) >= slots and _pools_listen(cluster)

    if not _until(ready, 90, running.values()):
        dead = [name for name, each in running.items() if not each.alive] or ["it"]
        raise SystemExit(f"the cluster does not come up: {dead[0]} has ended; see {RUN}/*.log")
    return running


def down() -> None:
    """Stops what `up` started, by process id."""
    for name, each in reversed(processes().items()):
        each.stop(wait=5 if name.startswith("task") else 20)
    PROCESSES.unlink(missing_ok=True)


def overview() -> dict[str, Any]:
    """What the JobManager says of the cluster; nothing where there is none."""
    return rest("/overview")


def rest(path: str) -> dict[str, Any]:
    """An answer of the JobManager; nothing where there is none."""
    try:
        with urllib.request.urlopen(REST + path, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return {}


def _start(name: str, command: list[str]) -> Process:
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=jars.HERE.parents[1],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Process(process.pid, _started(process.pid))


def _remember(running: dict[str, Process]) -> None:
    PROCESSES.write_text(json.dumps({name: asdict(each) for name, each in running.items()}))


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where there is none or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _pools_listen(cluster: Cluster) -> bool:
    for number in range(1, cluster.task_managers + 1):
        try:
            socket.create_connection((_pool_host(number), POOL_PORT), timeout=1).close()
        except OSError:
            return False
    return True


def _until(true: Callable[[], bool], seconds: float, alive: Any = ()) -> bool:
    """Waits until something is true; stops waiting when a process that has to live has ended."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if true():
            return True
        if not all(each.alive for each in alive):
            return False
        time.sleep(0.2)
    return False


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("up", "down", "status"))
    parser.add_argument("--task_managers", type=int, default=2, help="each with a worker pool")
    parser.add_argument("--slots", type=int, default=2, help="of each TaskManager")
    parser.add_argument("--parallelism", type=int, help="of a job that does not say")
    args = parser.parse_args()
    if args.what == "down":
        down()
    elif args.what == "up":
        up(Cluster(args.task_managers, args.slots, args.parallelism))
        print(f"Flink {overview()['flink-version']} at {REST}; stop it with: make flink-down")
    for name, each in processes().items():
        print(f"{name:16} pid {each.pid:7} {'runs' if each.alive else 'has ended'}")


if __name__ == "__main__":
    main()
