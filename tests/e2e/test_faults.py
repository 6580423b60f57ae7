"""Runs that are killed, starved and disturbed: nothing is lost, half done or done twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.scoring import plan_scores
from tests.scoring_kit import (
    EqualBundle,
    EqualScorer,
    exit_code,
    pairs,
    read_parts,
    run_score,
    write,
)
from transforms.accounts import output_folder
from transforms.errors import RunError
from transforms.input import shards
from transforms.input.read_shards import read_shard
from transforms.pairs import PairColumns
from transforms.storage import lock

ROOT = Path(__file__).parents[2]
KILLS, BLOCKS = 100, 10
ROWS = 300_000


def command(inputs: Path, output: Path, *flags: str) -> list[str]:
    paths = ["--input", str(inputs), "--output", str(output), "--model", "bundle"]
    return [sys.executable, "-m", "tests.e2e.score_with_fake", *paths, *flags]


def start(*given, fault: str = "", **how) -> subprocess.Popen:
    environment = {**os.environ, "FAULT": fault}
    return subprocess.Popen(
        command(*given), cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip


def run_to_end(*given, **how) -> tuple[int, str, str]:
    process = start(*given, **how)
    printed, complained = process.communicate(timeout=300)
    return process.returncode, printed, complained


def sums(output: Path) -> dict[str, str]:
    """Name → sha256 of every Parquet file, and of nothing else."""
    paths = sorted([*output.glob("*.parquet"), *output.glob("_rejects/*")])
    return {str(p.relative_to(output)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def strange_names(output: Path) -> list[str]:
    """Files that a finished run must not leave."""
    manifest = json.loads((output / "_manifest.json").read_text())
    listed = {file["name"] for file in manifest["files"]}
    ours = {"_manifest.json", "_SUCCESS", "_shards/plan.json", "_shards/claim.json"}
    ours |= {f"_shards/closed-{manifest['run']}"}
    ours |= {f"_shards/{name}.json" for name in listed if not name.startswith("_rejects/")}
    present = {str(p.relative_to(output)) for p in output.rglob("*") if p.is_file()}
    return sorted(present ^ (listed | ours))


def wait_for_work(process: subprocess.Popen) -> None:
    """Waits until the run says what there is to do, or has ended."""
    process.stdout.readline()


def disturbed(tmp_path: Path, rows: int, kills: int, shard_rows: int, seed: int) -> dict:
    """Kills runs at random steps, then lets one finish; checks it against an undisturbed one."""
    chance = random.Random(seed)
    table = pairs(rows)
    holes = [
        None if row % 97 == 0 else text for row, text in enumerate(table["sentence2"].to_pylist())
    ]
    source = write(
        tmp_path / "in.parquet",
        table.set_column(2, "sentence2", pa.array(holes)),
        row_group_size=shard_rows,
    )
    flags = ["--shard_rows", str(shard_rows)]
    counted = tmp_path / "steps"
    code, _, complained = run_to_end(source, tmp_path / "calm", *flags, fault=f"count:{counted}")
    assert code == 0, complained
    steps = int(counted.read_text())
    output, done_before, survived = tmp_path / "killed", {}, 0
    while survived < kills:
        fault = f"die-at:{chance.randint(1, steps)}"
        code, _, complained = run_to_end(source, output, *flags, fault=fault)
        if code == 0:  # it had fewer steps to take: begin anew, so that every kill is a kill
            for path in sorted(output.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            done_before = {}
            continue
        assert code == -signal.SIGKILL, complained
        survived += 1
        assert not (output / "_SUCCESS").exists() or (output / "_manifest.json").exists()
        accounts = {
            p.name: p.stat().st_mtime_ns for p in (output / "_shards").glob("*.parquet.json")
        }
        assert done_before.items() <= accounts.items()  # what was finished was not done again
        for path in output.glob("*.parquet"):
            pq.read_metadata(path)  # a final name is never half a file
        done_before = accounts
    complete = (output / "_SUCCESS").exists()  # the last kill came after the commit
    code, _, complained = run_to_end(source, output, *flags)
    assert code == 0, complained
    manifest = json.loads((output / "_manifest.json").read_text())
    accounts = {p.name: p.stat().st_mtime_ns for p in (output / "_shards").glob("*.parquet.json")}
    assert done_before.items() <= accounts.items()
    assert complete or manifest["shards_this_run"] == len(accounts) - len(done_before)
    assert sums(output) == sums(tmp_path / "calm")
    assert strange_names(output) == []
    assert manifest["rows_in"] == manifest["rows_scored"] + manifest["rows_rejected"] == rows
    return {"kills": survived, "shards": len(accounts), "shards kept": len(done_before)}


def test_killed_at_random_steps_the_next_run_ends_with_the_same_bytes(tmp_path):
    found = disturbed(tmp_path, rows=3000, kills=2, shard_rows=100, seed=1)
    assert found["kills"] > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_hundred_kills(tmp_path, block):
    """In ten blocks: each meets runs in every state, from the first shard to the commit."""
    found = disturbed(tmp_path, ROWS, KILLS // BLOCKS, ROWS // 40, seed=block)
    assert found["kills"] == KILLS // BLOCKS
    print(f"{found['kills']} kills of runs over {ROWS:,} rows, 0 rows lost; {found}", flush=True)


# --- the model --------------------------------------------------------------------------------


class FailingScorer(EqualScorer):
    """Fails on batches with a poison row, or on batches too large."""

    def __init__(self, error: Exception, most: int | None = None):
        self.error, self.most, self.calls = error, most, 0

    def score(self, side1, side2):
        self.calls += 1
        poison = any("poison" in text for text in side1.to_pylist())
        if poison if self.most is None else len(side1) > self.most:
            raise self.error
        return super().score(side1, side2)


@pytest.fixture
def with_model(monkeypatch):
    def put(scorer):
        monkeypatch.setattr(EqualBundle, "load", lambda self: scorer)
        monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)

    put(EqualScorer())
    return put


def test_only_the_guilty_rows_of_a_batch_are_rejected(tmp_path, with_model):
    guilty = (7, 500, 999)
    table = pairs(1000)
    first = [
        f"poison {n}" if n in guilty else t for n, t in enumerate(table["sentence1"].to_pylist())
    ]
    write(tmp_path / "in.parquet", table.set_column(1, "sentence1", pa.array(first)))
    scorer = FailingScorer(ValueError("poison 7 is a secret"))
    with_model(scorer)
    manifest = run_score(tmp_path / "in.parquet", tmp_path / "out")
    assert manifest["rejected_by_reason"] == {"model_failed": 3}
    rejected = read_parts(tmp_path / "out", "in", "_rejects")
    assert rejected["id"].to_pylist() == list(guilty)
    assert set(rejected["reject_detail"].to_pylist()) == {"ValueError"}
    scored = read_parts(tmp_path / "out", "in")
    assert scored["id"].to_pylist() == [n for n in range(1000) if n not in guilty]
    assert scorer.calls <= 2 * 3 * 10 + 1  # halving: two calls a level for each guilty row


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: OOM")])
def test_a_batch_that_does_not_fit_in_memory_is_halved_and_leaves_the_same_bytes(
    tmp_path, with_model, error
):
    write(tmp_path / "in.parquet", pairs(1000))
    calm = run_score(tmp_path / "in.parquet", tmp_path / "calm")
    with_model(FailingScorer(error, most=130))
    manifest = run_score(tmp_path / "in.parquet", tmp_path / "starved")
    assert manifest["rows_rejected"] == 0
    assert manifest["files"] == calm["files"]
    assert manifest["sentences"] == calm["sentences"]


def test_a_model_that_fails_on_everything_fails_the_run_without_quoting_rows(
    tmp_path, with_model, capfd
):
    write(tmp_path / "in.parquet", pairs(1000))
    with_model(FailingScorer(ValueError("question 17 is a secret"), most=0))
    assert exit_code(tmp_path / "in.parquet", tmp_path / "out") == 1
    printed = capfd.readouterr()
    assert "the model failed on 101 rows one by one, at last: ValueError" in printed.err
    assert "secret" not in printed.err + printed.out
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert exit_code(tmp_path / "in.parquet", tmp_path / "out", "--no_redact") == 1
    assert "at last: ValueError: question 17 is a secret" in capfd.readouterr().err


# --- files --------------------------------------------------------------------------------------


def change(path: Path) -> None:
    write(path, pairs(400))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil(path: Path) -> None:
    """Noise in the middle, with the same footer and times, as of a disk; page checksums find it."""
    content, at = bytearray(path.read_bytes()), path.stat()
    content[200:240] = os.urandom(40)
    path.write_bytes(content)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (change, "changed after the run had looked at it"),
        (Path.unlink, "vanished after the run had looked at it"),
        (cut, "changed after the run had looked at it"),
        (spoil, "the file is damaged"),
    ],
)
def test_input_that_changes_between_planning_and_reading(
    tmp_path, with_model, monkeypatch, capsys, happens, message
):
    source = write(tmp_path / "in.parquet", pairs(300), write_page_checksum=True)
    begin = output_folder.begin

    def begin_then(*given, **how):
        work = begin(*given, **how)
        happens(source)
        return work

    monkeypatch.setattr(output_folder, "begin", begin_then)
    assert exit_code(source, tmp_path / "out") == 1
    line = capsys.readouterr().err
    assert line.startswith(f"twinbeam: {source}") and message in line and line.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_file_too_large_for_what_is_left_leaves_no_half_file_and_can_be_gone_on_with(tmp_path):
    """RLIMIT_FSIZE stands for a full disk: writing fails in the middle of a file."""
    source = write(tmp_path / "in.parquet", pairs(60_000), row_group_size=20_000)
    flags = ["--compression=none", "--shard_rows=20000"]

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    code, _, complained = run_to_end(source, tmp_path / "out", *flags, preexec_fn=small_files)
    assert code == 1
    assert complained.splitlines()[-1].endswith("cannot be written: File too large")
    assert "Traceback" not in complained
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert list((tmp_path / "out" / "_tmp").glob("*")) == []
    code, _, complained = run_to_end(source, tmp_path / "out", *flags)
    assert code == 0, complained


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, where that can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here; the test of RLIMIT_FSIZE stands in")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path, small_disk, with_model, capsys):
    source = write(tmp_path / "in.parquet", pairs(60_000), row_group_size=20_000)
    output = small_disk / "out"
    assert exit_code(source, output, "--compression=none", "--shard_rows=20000") == 1
    line = capsys.readouterr().err
    assert "cannot be written: No space left on device" in line and line.count("\n") == 1
    assert not (output / "_SUCCESS").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    manifest = run_score(source, output, "--compression=none", "--shard_rows=20000")
    assert manifest["rows_scored"] == 60_000
    assert strange_names(output) == []


def test_a_file_system_that_is_read_only(tmp_path, small_disk, with_model, capsys):
    source = write(tmp_path / "in.parquet", pairs(30))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert exit_code(source, small_disk / "out") == 2
    line = capsys.readouterr().err
    assert "cannot be written to: Read-only file system" in line and line.count("\n") == 1


# --- processes ----------------------------------------------------------------------------------


def test_two_runs_at_once(tmp_path, with_model, capsys):
    source = write(tmp_path / "in.parquet", pairs(3000), row_group_size=50)
    output = tmp_path / "out"
    first = start(source, output, "--shard_rows=50", fault=f"hold:{tmp_path}/go")
    wait_for_work(first)
    assert exit_code(source, output, "--shard_rows=50") == 2
    (tmp_path / "go").touch()
    assert "is being written by another run; wait for it" in capsys.readouterr().err
    _, complained = first.communicate(timeout=120)
    assert first.returncode == 0, complained
    assert run_score(source, output, "--shard_rows=50")["rows_scored"] == 3000


def test_a_lock_file_of_a_dead_run_does_not_hold_the_next_one_up(tmp_path, with_model):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / output_folder.LOCK).touch()
    source = write(tmp_path / "in.parquet", pairs(3))
    assert run_score(source, tmp_path / "out")["rows_scored"] == 3
    assert not (tmp_path / "out" / output_folder.LOCK).exists()


def test_the_lock_is_not_fooled_by_a_file_that_its_last_holder_deletes(tmp_path, monkeypatch):
    path = str(tmp_path / "_LOCK")
    flock, deleted = lock.fcntl.flock, []

    def delete_first(descriptor, how):
        if not deleted:
            deleted.append(Path(path).unlink())
        flock(descriptor, how)

    monkeypatch.setattr(lock.fcntl, "flock", delete_first)
    with lock.lock(path, busy="busy"):
        assert Path(path).exists()


@pytest.mark.slow
def test_a_worker_process_that_is_killed_ends_the_run_and_the_next_goes_on(tmp_path):
    source = write(tmp_path / "in.parquet", pairs(600), row_group_size=100)
    flags = ["--shard_rows=100", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    fault = f"kill-worker-once:{tmp_path}/killed"
    code, _, complained = run_to_end(source, tmp_path / "out", *flags, fault=fault)
    assert code == 1
    assert "twinbeam: a worker process ended before its work" in complained
    assert "Traceback" not in complained
    code, _, complained = run_to_end(source, tmp_path / "out", "--shard_rows=100")
    assert code == 0, complained


def test_reading_stops_where_the_plan_does_not_hold_any_more(tmp_path):
    source = write(tmp_path / "in.parquet", pairs(10))
    (shard,) = shards.plan_shards([str(source)], PairColumns(), shard_rows=100)
    change(source)
    with pytest.raises(RunError, match="run again"):
        list(read_shard(shard))
