"""Scoring with every path in a bucket: same bytes, by range, whole or not at all, one commit."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from requests.adapters import HTTPAdapter

from pipelines import convert
from pipelines.scoring import plan_scores
from tests.cloud.fakes import FakeCloud
from tests.scoring_kit import EqualBundle, EqualScorer, exit_code, pairs, run_score, write
from transforms.accounts import commit as commits
from transforms.accounts import shard_account
from transforms.accounts.claims import Claim
from transforms.accounts.shard_writer import ShardWriter
from transforms.errors import RunError, UserError
from transforms.storage import files, gcs
from transforms.storage.publishing import publish_folder

ROWS = 3000
MANY_GROUPS = {"row_group_size": 250, "compression": "none"}


@pytest.fixture(autouse=True)
def equal_bundle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """Two input files with a bad row, and their scores on this machine."""
    for name, rows in (("a", ROWS), ("b", 500)):
        table = pairs(rows)
        text = ["" if row == 7 else one.as_py() for row, one in enumerate(table["sentence1"])]
        write(
            tmp_path / "in" / f"{name}.parquet",
            table.set_column(1, "sentence1", pa.array(text)),
            **MANY_GROUPS,
        )
    run_score(tmp_path / "in" / "*.parquet", tmp_path / "out", "--shard_rows", 1000)
    return tmp_path


@pytest.fixture
def uploaded(local: Path, cloud: FakeCloud, bucket: str) -> str:
    """The same input in the bucket."""
    for path in (local / "in").iterdir():
        cloud.write(f"{bucket}/in/{path.name}", path.read_bytes())
    cloud.storage.calls.clear()
    return bucket


def score_in(bucket: str, *flags: object, out: str = "out") -> dict:
    run = f"{bucket}/in/*.parquet", f"{bucket}/{out}", "--shard_rows", 1000
    return run_score(*run, *flags)


PARQUET = (".parquet", ".rejected")  # rejected rows are Parquet by another ending


def parquet_in(cloud: FakeCloud, folder: str) -> dict[str, bytes]:
    names = [name for name in cloud.names(folder) if name.endswith(PARQUET)]
    return {name: cloud.read(f"{folder}/{name}") for name in names}


def parquet_on_disk(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.name.endswith(PARQUET))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_scores_are_the_same_bytes_as_on_this_machine(cloud: FakeCloud, uploaded: str, local: Path):
    manifest = score_in(uploaded)

    scores = parquet_in(cloud, f"{uploaded}/out")
    assert scores == parquet_on_disk(local / "out")
    assert {f["name"]: f["sha256"] for f in manifest["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in scores.items()
    }
    assert not [name for name in cloud.names(f"{uploaded}/out") if name.startswith("_tmp")]


def test_a_second_run_finds_all_done_and_a_new_file_is_scored_alone(
    cloud: FakeCloud, uploaded: str, capsys: pytest.CaptureFixture
):
    score_in(uploaded)
    score_in(uploaded)
    assert "is complete already" in capsys.readouterr().out

    cloud.write(f"{uploaded}/in/c.parquet", cloud.read(f"{uploaded}/in/b.parquet"))
    assert score_in(uploaded)["shards_this_run"] == 1


def test_a_shard_is_read_by_range_not_the_whole_file(cloud: FakeCloud, uploaded: str, local: Path):
    score_in(uploaded)
    reads = [
        call for call in cloud.calls("GET", "in/a.parquet") if call.query.get("alt") == "media"
    ]

    size = (local / "in" / "a.parquet").stat().st_size
    assert reads and all(call.range for call in reads)
    # 12 groups of rows in 3 shards: no call takes more than a shard's part, and its read-ahead.
    assert max(call.sent for call in reads) < size
    assert all("ifGenerationMatch" in call.query for call in reads)


def test_the_footer_is_all_that_planning_reads(cloud: FakeCloud, bucket: str, tmp_path: Path):
    big = pairs(40_000)
    path = write(tmp_path / "big.parquet", big, row_group_size=4000, compression="none")
    cloud.write(f"{bucket}/big.parquet", path.read_bytes())
    cloud.storage.calls.clear()
    from transforms.input.read_shards import read_shard
    from transforms.input.shards import plan_shards
    from transforms.pairs import PairColumns

    shards = plan_shards([f"{bucket}/big.parquet"], PairColumns(), shard_rows=4000)
    sent = sum(call.sent for call in cloud.calls("GET", "big.parquet"))
    assert len(shards) == 10 and sent < path.stat().st_size / 2

    cloud.storage.calls.clear()
    rows = pa.Table.from_batches(read_shard(shards[4], batch_bytes=1 << 20))
    assert rows.equals(big.slice(16_000, 4000))
    sent = sum(call.sent for call in cloud.calls("GET", "big.parquet"))
    assert sent < path.stat().st_size / 2  # a tenth of the rows, the footer, and the read-ahead


@pytest.mark.slow
def test_a_large_file_goes_up_in_chunks_that_can_be_resumed(
    cloud: FakeCloud, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gcs, "_CHUNK", 1 << 18)
    content = bytes(range(256)) * 4096
    with cloud.storage.failing(0.3):
        hidden, file = files.create_hidden(bucket, "large")
        for start in range(0, len(content), 100_000):
            file.write(content[start : start + 100_000])
        file.close()
        files.reveal(hidden, f"{bucket}/large")

    assert cloud.read(f"{bucket}/large") == content
    chunks = [call for call in cloud.calls("PUT") if "upload_id" in call.query]
    assert sum(cloud.storage.faults.values()) and len(chunks) >= 4
    assert max(call.received for call in chunks) == 1 << 18


def test_a_half_written_shard_is_seen_under_no_name(
    cloud: FakeCloud, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gcs, "_CHUNK", 1 << 18)
    table = pairs(40_000)
    with (
        pytest.raises(KeyError),
        ShardWriter(Claim(bucket), "a.parquet", table.schema, "in/a", compression="none") as writer,
    ):
        for batch in table.to_batches(max_chunksize=4000):
            writer.write(batch)
            assert cloud.names(bucket) == []
        raise KeyError

    assert cloud.names(bucket) == []
    assert cloud.calls("DELETE")  # the upload was called off


def test_of_two_commits_at_the_same_time_one_is_refused(cloud: FakeCloud, bucket: str):
    start, ends = threading.Barrier(8), []

    def commit(number: int) -> None:
        start.wait()
        try:
            files.create_bytes(f"{bucket}/manifest.json", b"run %d" % number)
            ends.append(number)
        except FileExistsError:
            ends.append(None)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = [number for number in ends if number is not None]
    assert len(ends) == 8 and cloud.read(f"{bucket}/manifest.json") == b"run %d" % winner
    assert all(c.query["ifGenerationMatch"] == "0" for c in cloud.calls("POST", "manifest.json"))


class Waiting(EqualScorer):
    """Scores once it is let go."""

    def score(self, side1, side2):
        Waiting.began.set()
        assert Waiting.go_on.wait(60)
        return super().score(side1, side2)


class WaitingBundle(EqualBundle):
    def load(self):
        return Waiting()


def test_of_two_runs_on_one_folder_the_later_commits(
    cloud: FakeCloud, uploaded: str, monkeypatch: pytest.MonkeyPatch
):
    Waiting.began, Waiting.go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(plan_scores, "BundleScorer", WaitingBundle)
    failed: list[Exception] = []

    def first() -> None:
        try:
            score_in(uploaded)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert Waiting.began.wait(60)
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)
    later = score_in(uploaded)
    Waiting.go_on.set()
    thread.join()

    assert "was taken over by another run" in str(failed[0])
    assert json.loads(cloud.read(f"{uploaded}/out/_manifest.json")) == later


def accounts_in(cloud: FakeCloud, output: str) -> dict[str, shard_account.ShardAccount]:
    ending = ".parquet.json"
    names = [name for name in cloud.names(f"{output}/_shards") if name.endswith(ending)]
    found = [shard_account.read_account(output, name.removesuffix(".json")) for name in names]
    return {account.shard["name"]: account for account in found}


def test_a_step_that_a_runner_does_twice_commits_once(cloud: FakeCloud, uploaded: str):
    manifest = score_in(uploaded)
    accounts = accounts_in(cloud, f"{uploaded}/out")
    how = {"expected": list(accounts), "header": {"seconds": 1e9}, "gates": commits.Gates(1.0)}

    same, another = (Claim(f"{uploaded}/out", run) for run in (manifest["run"], "another"))
    assert commits.commit(same, accounts.values(), **how) == manifest
    with pytest.raises(RunError, match="taken over"):
        commits.commit(another, accounts.values(), **how)


def test_a_folder_is_published_whole_and_once(cloud: FakeCloud, bucket: str, tmp_path: Path):
    def folder(name: str, content: bytes) -> str:
        for file in ("a", "deep/b", "manifest.json"):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return str(tmp_path / name)

    publish_folder(folder("first", b"1"), f"{bucket}/f", last=["manifest.json"])
    with pytest.raises(RunError, match="written by another run"):
        publish_folder(folder("second", b"2"), f"{bucket}/f", last=["manifest.json"])
    assert cloud.read(f"{bucket}/f/deep/b") == b"1"

    seen = files.versions(f"{bucket}/f")
    publish_folder(folder("second", b"2"), f"{bucket}/f", last=["manifest.json"], replaces=seen)
    assert {cloud.read(f"{bucket}/f/{name}") for name in cloud.names(f"{bucket}/f")} == {b"2"}
    puts = [call.name for call in cloud.calls("POST") if call.uploading]
    assert puts[-1].endswith("manifest.json")


def test_text_in_a_bucket_becomes_parquet_there(cloud: FakeCloud, bucket: str):
    cloud.write(f"{bucket}/a.tsv", b"sentence1\tsentence2\tlabel\na\tb\t1\nc\td\t0\n")
    convert.run(["--input", f"{bucket}/*.tsv", "--output", f"{bucket}/a.parquet"])

    table = pq.read_table(io.BytesIO(cloud.read(f"{bucket}/a.parquet")))
    assert table.select(["sentence1", "sentence2"]).to_pydict() == {
        "sentence1": ["a", "c"],
        "sentence2": ["b", "d"],
    }
    assert cloud.names(bucket) == ["a.parquet", "a.tsv"]


def test_patterns_match_as_on_a_disk(cloud: FakeCloud, bucket: str):
    from transforms.input.input_files import find

    hidden = ("_SUCCESS", "deep/_x/d.parquet", "deep/.c.crc")
    for name in ("b.parquet", "a.parquet", "deep/er/c.parquet", "a[1].parquet", *hidden):
        cloud.write(f"{bucket}/{name}", b"x")

    def names(pattern: str) -> list[str]:
        return [file.name for file in find([f"{bucket}/{pattern}"])]

    assert names("?.parquet") == ["a.parquet", "b.parquet"]
    assert names("**.parquet") == ["a.parquet", "a[1].parquet", "b.parquet", "deep__er__c.parquet"]
    assert names("a[1].parquet") == ["a[1].parquet"]
    assert names("deep") == names("deep/") == ["er__c.parquet"]
    assert names("de*") == ["deep__er__c.parquet"]
    assert names("deep/_x/*") == ["d.parquet"]
    for pattern in ("none*", "none", "dee", "_*.parquet"):
        with pytest.raises(UserError, match="matches no file"):
            names(pattern)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("gs://no-such-bucket/*.parquet", "cannot be listed: not there"),
        ("{bucket}/none/*.parquet", "matches no file"),
    ],
)
def test_what_is_not_there_is_reported_in_one_line(
    cloud: FakeCloud, bucket: str, inputs: str, expected: str, capsys: pytest.CaptureFixture
):
    assert exit_code(inputs.format(bucket=bucket), f"{bucket}/out") == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_a_store_that_cannot_be_reached_is_reported_with_the_cause(
    cloud: FakeCloud, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    from google.cloud.storage.retry import DEFAULT_RETRY

    hurried = DEFAULT_RETRY.with_delay(initial=0.01).with_timeout(0.1)
    monkeypatch.setattr(gcs, "_retry", lambda: hurried)
    with cloud.storage.failing(1.0), pytest.raises(RunError) as raised:
        files.write_bytes(f"{bucket}/never", b"x")
    assert "the bucket does not respond: " in str(raised.value)
    assert "Timeout of" not in str(raised.value)  # that it was tried for long is not the cause


def test_a_call_that_gets_no_answer_is_made_again(
    cloud: FakeCloud, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    """The client waits a minute for an answer; here it is in a hurry."""
    send = HTTPAdapter.send
    hurried = lambda self, request, **how: send(self, request, **how | {"timeout": 0.3})  # noqa: E731
    monkeypatch.setattr(HTTPAdapter, "send", hurried)
    cloud.storage.silent = 2
    files.create_bytes(f"{bucket}/patient", b"x" * 1000)
    cloud.storage.silent = 1
    assert files.read_bytes(f"{bucket}/patient") == b"x" * 1000

    assert [call.status for call in cloud.storage.calls].count("silence") == 3


@pytest.mark.slow
def test_with_a_fifth_of_all_calls_failing_the_run_ends_with_the_same_bytes(
    cloud: FakeCloud, uploaded: str, local: Path
):
    with cloud.storage.failing(0.2):
        score_in(uploaded)

    faults = cloud.storage.faults
    calls = [call for call in cloud.storage.calls]
    assert sum(faults.values()) > 0.1 * len(calls) and len(faults) >= 6, faults
    assert parquet_in(cloud, f"{uploaded}/out") == parquet_on_disk(local / "out")


def test_a_corrected_file_of_equal_size_and_footer_is_another_one(
    cloud: FakeCloud, bucket: str, tmp_path: Path
):
    from transforms.input.shards import plan_shards
    from transforms.pairs import PairColumns

    path, found = tmp_path / "in.parquet", []
    for labels in ([0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]):
        write(path, pairs(4, label=pa.array(labels)), use_dictionary=False, compression="none")
        cloud.write(f"{bucket}/in.parquet", path.read_bytes())
        (shard,) = plan_shards([f"{bucket}/in.parquet"], PairColumns(), shard_rows=9)
        found.append(shard.fingerprint)

    assert found[0] != found[1]
    assert found[0] == found[2]  # the same content again is the same file
