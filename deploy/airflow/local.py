"""A real Airflow on this machine alone: SQLite, every server on 127.0.0.1, sample data, one night.

`up` starts it, switches `twinbeam_train` on, whose last week makes and promotes a bundle, and then
`twinbeam_daily`, which scores last night's pairs. `cli` runs a command of Airflow's against it, and
`down` ends what `up` began.

    python -m deploy.airflow.local up --port 8080
    python -m deploy.airflow.local cli dags list
    python -m deploy.airflow.local down
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from demo import nights

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-airflow/bin"
HOME = ROOT / ".airflow"
POOL = ("twinbeam_gpu", "1", "Trainings that run at the same time: one for each GPU")
STARTED = "started.json"  # the port and the settings, for `cli`
# Only the API server and the files listen; the others would open a server for their logs on all
# addresses. The files are the data, one port up: where the links beside a task lead.
FILES = "files"
SERVERS = {
    FILES: ("-m", "http.server", "--bind", "127.0.0.1", "--directory", "{data}", "{files}"),
    "api-server": ("api-server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
    "dag-processor": ("dag-processor",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def environment(home: Path, port: int, settings: dict[str, Any]) -> dict[str, str]:
    """The variables that make a private Airflow: nothing of the user's own Airflow is read."""
    keys = _keys(home)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    options = {
        "CORE__DAGS_FOLDER": ROOT / "dags",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": 2,
        "CORE__FERNET_KEY": keys["fernet"],
        "WORKERS__EXECUTION_API_TIMEOUT": 60,  # not 5 s: the machine may be busy with other things
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # Whoever may use this machine's loopback may use the page: a demonstration, no service.
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "API__SECRET_KEY": keys["secret"],
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API_AUTH__JWT_SECRET": keys["jwt"],
        "USAGE_DATA_COLLECTION__ENABLED": False,
    }
    return {
        **kept,
        **{f"AIRFLOW__{key}": str(value) for key, value in options.items()},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_VAR_TWINBEAM": json.dumps(settings),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
    }


def _keys(home: Path) -> dict[str, str]:
    """Random keys, made once and readable by their owner alone."""
    path = home / "keys.json"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        made = {name: secrets.token_hex(32) for name in ("secret", "jwt")}
        made["fernet"] = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        path.touch(mode=0o600)
        path.write_text(json.dumps(made))
    return json.loads(path.read_text())


class LocalAirflow:
    """Airflow's four processes below one folder, and its API."""

    def __init__(self, home: Path, port: int, settings: dict[str, Any]):
        """Takes the folder, the page's port, and the Airflow variable `twinbeam`."""
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.settings = {"links": f"http://127.0.0.1:{port + 1}", **settings}
        self.environment = environment(home, port, self.settings)
        self._open = build_opener(ProxyHandler({})).open
        self._token = ""

    def start(self) -> None:
        """Makes the database and starts the servers; returns when all of them are well.

        Raises:
            SystemExit: one of them ended; its log says why.
        """
        for words in (("db", "migrate"), ("pools", "set", *POOL)):
            self.command(*words)
        (self.home / "server-logs").mkdir(exist_ok=True)
        started = {"port": self.port, "settings": self.settings}
        (self.home / STARTED).write_text(json.dumps(started))
        for name in SERVERS:
            self.start_server(name)
        self.wait(self._is_well, "all servers are well", seconds=300)
        self.wait(lambda: self._has_dags(), "both DAGs are loaded", seconds=300)

    def command(self, *words: str) -> str:
        """Runs `airflow WORDS`; returns what it printed."""
        done = subprocess.run(
            [BIN / "airflow", *words], env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"airflow {' '.join(words)} failed:\n{done.stderr[-2000:]}")
        return done.stdout

    def interactive(self, words: Sequence[str]) -> int:
        """Runs `airflow WORDS` as if typed here; returns its exit code.

        SQLite lets one process write. Airflow makes no backfill while its scheduler writes, so that
        one is stopped for the moment; what still comes between is tried again.
        """
        writes = tuple(words[:2]) == ("backfill", "create")
        scheduler = _running(self.home / "scheduler.pid") if writes else 0
        for wait in (0, 1, 2, 4, 8):
            time.sleep(wait)
            with _stopped(scheduler):
                done = subprocess.run(
                    [BIN / "airflow", *words], env=self.environment, text=True,
                    stderr=subprocess.PIPE if writes else None,
                )  # fmt: skip
            if not (writes and "database is locked" in done.stderr):
                break
        print(done.stderr or "", end="", file=sys.stderr)
        return done.returncode

    def start_server(self, name: str) -> None:
        """Starts one of the servers."""
        values = {"port": self.port, "files": self.port + 1, "data": self.settings.get("data")}
        words = [word.format(**values) for word in SERVERS[name]]
        program = sys.executable if name == FILES else BIN / "airflow"
        log = (self.home / "server-logs" / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [program, *words], env=self.environment, cwd=self.home, stdout=log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        (self.home / f"{name}.pid").write_text(f"{process.pid} {_born(process.pid)}")

    def wait(self, done: Callable[[], Any], what: str, *, seconds: float) -> Any:
        """Asks until the answer is yes, and returns it."""
        end = time.monotonic() + seconds
        while not (answer := done()):
            started = [self.home / f"{name}.pid" for name in SERVERS]
            dead = [file.stem for file in started if file.exists() and not _running(file)]
            if dead or time.monotonic() > end:
                why = f"{dead[0]} has ended" if dead else f"{seconds:.0f} s have passed"
                logs = self.home / "server-logs"
                raise SystemExit(f"Airflow: waited until {what}, but {why}; see {logs}")
            time.sleep(1)
        return answer

    def _is_well(self) -> bool:
        try:
            health = self.ask("GET", "/api/v2/monitor/health", token=False)
        except (URLError, OSError):
            return False
        needed = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((health.get(name) or {}).get("status") == "healthy" for name in needed)

    def _has_dags(self) -> bool:
        found = {dag["dag_id"] for dag in self.ask("GET", "/api/v2/dags")["dags"]}
        return {"twinbeam_daily", "twinbeam_train"} <= found

    def ask(self, method: str, path: str, content: Any = None, *, token: bool = True) -> Any:
        """Calls Airflow's REST API."""
        headers = {"Content-Type": "application/json"}
        if token:
            self._token = self._token or self.ask("GET", "/auth/token", token=False)["access_token"]
            headers["Authorization"] = f"Bearer {self._token}"
        body = None if content is None else json.dumps(content).encode()
        request = Request(self.url + path, body, headers, method=method)
        # What changes something is not asked twice, so it may take its time on a busy machine.
        with self._open(request, timeout=60 if method == "GET" else 300) as response:
            return json.loads(response.read() or b"null")

    def switch(self, dag: str, *, on: bool) -> None:
        """Lets the scheduler run a DAG, or not."""
        self.ask("PATCH", f"/api/v2/dags/{dag}", {"is_paused": not on})

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG, the first one first."""
        runs = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns?order_by=run_after")["dag_runs"]
        return runs

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Starts a run as the page's form does; returns its id."""
        request = {"logical_date": None, "conf": conf}
        return self.ask("POST", f"/api/v2/dags/{dag}/dagRuns", request)["dag_run_id"]

    def finished(self, dag: str, run_id: str | None = None) -> dict[str, Any] | None:
        """The run, or the first one, once it has ended."""
        for run in self.runs(dag):
            if run_id in (None, run["dag_run_id"]):
                return run if run["state"] in ("success", "failed") else None
        return None


def _born(pid: int) -> str:
    """When a process began, in ticks: its number may be another's later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _running(pid_file: Path) -> int:
    """The process that the file names, if it is still that one; else 0."""
    if not pid_file.exists():
        return 0
    pid, born = pid_file.read_text().split(" ")
    return int(pid) if born and _born(int(pid)) == born and _state(int(pid)) != "Z" else 0


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process (0 for none) is paused meanwhile; its children do not."""
    if pid:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if pid:
            os.kill(pid, signal.SIGCONT)


def _family(pid: int) -> list[int]:
    """A process and all that came of it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def processes(home: Path, names: Iterable[str] = SERVERS) -> list[int]:
    """Every process that belongs to the Airflow below a folder, or to some of its servers."""
    servers = (_running(home / f"{name}.pid") for name in names)
    return [each for pid in servers if pid for each in _family(pid)]


def stop(home: Path, names: Iterable[str] = SERVERS) -> None:
    """Ends what `start` began, or some of its servers, and nothing else."""
    born = {pid: _born(pid) for pid in processes(home, names)}
    for sign, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        alive = [pid for pid in born if _born(pid) == born[pid] and _state(pid) != "Z"]
        for pid in alive:
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                continue
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(
            _born(pid) == born[pid] and _state(pid) != "Z" for pid in alive
        ):
            time.sleep(0.2)
    for name in names:
        (home / f"{name}.pid").unlink(missing_ok=True)


def up(home: Path, port: int) -> None:
    """Starts Airflow, trains a bundle and lets the scheduler run one night."""
    if processes(home):
        raise SystemExit(f"it runs already, below {home}; make airflow-down ends it")
    data = home / "data"
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    days = [date.fromordinal(yesterday.toordinal() - back) for back in (3, 2, 1, 0)]
    nights.run([str(data), "--days", *(day.isoformat() for day in days)])
    settings = {
        "python": sys.executable,
        "folder": str(ROOT),
        "data": str(data),
        "recipe": str(data / "recipe.yaml"),
    }
    airflow = LocalAirflow(home, port, settings)
    print("Starting Airflow", flush=True)
    airflow.start()
    print(f"Airflow is at {airflow.url}", flush=True)
    # A schedule that is switched on runs its last interval at once; without a bundle no night.
    for dag in ("twinbeam_train", "twinbeam_daily"):
        airflow.switch(dag, on=True)
        tell(
            airflow,
            dag,
            airflow.wait(lambda dag=dag: airflow.finished(dag), f"{dag} ran", seconds=1200),
        )
    print(f"The page: {airflow.url}   the data: {data}   to end it: make airflow-down")


def tell(airflow: LocalAirflow, dag: str, run: dict[str, Any]) -> None:
    """A line about a run that has ended.

    Raises:
        SystemExit: it failed.
    """
    line = f"{dag}: {run['dag_run_id']} ended with {run['state']}"
    if run["state"] != "success":
        raise SystemExit(f"{line}; see {airflow.url}/dags/{dag}/runs/{run['dag_run_id']}")
    print(line, flush=True)


def cli(home: Path, words: Sequence[str]) -> int:
    """Runs `airflow WORDS` against the Airflow that `up` started; returns its exit code."""
    if not processes(home):
        raise SystemExit("no Airflow runs here; make airflow-up starts it")
    if not words:
        raise SystemExit("which command? For example: make airflow-cli ARGS='dags list'")
    started = json.loads((home / STARTED).read_text())
    return LocalAirflow(home, started["port"], started["settings"]).interactive(words)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.airflow.local", description=__doc__)
    parser.add_argument("--home", type=Path, default=HOME)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("up").add_argument("--port", type=int, default=8080)
    commands.add_parser("down")
    commands.add_parser("cli").add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    home = args.home.resolve()
    if args.what == "up":
        up(home, args.port)
    elif args.what == "cli":
        sys.exit(cli(home, args.words))
    else:
        stop(home)
        print(f"ended; its data stay in {args.home}")


if __name__ == "__main__":
    main()
