"""Scoring shards in a pipeline: what travels, what is counted, what is done twice."""

from __future__ import annotations

import hashlib
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.utils.shared import Shared

from tests.scoring_kit import EqualScorer, pairs, write
from transforms.accounts import shard_account
from transforms.accounts.claims import Claim
from transforms.input.shards import plan_shards
from transforms.pairs import PairColumns
from transforms.scoring.score_shards import ScoreSettings, ScoreShards, score_shard
from transforms.storage import files


@pytest.fixture
def work(tmp_path):
    """Three shards of 40 rows, two of them without a sentence, and where their scores go."""
    table = pairs(40)
    right = [
        None if row in (5, 25) else text for row, text in enumerate(table["sentence2"].to_pylist())
    ]
    write(tmp_path / "in.parquet", table.set_column(2, "sentence2", [right]), row_group_size=15)
    planned = plan_shards([f"{tmp_path}/in.parquet"], PairColumns(), shard_rows=15)
    return planned, ScoreSettings(Claim(f"{tmp_path}/out"), "key")


def test_the_runners_counters_are_the_accounts(work):
    planned, settings = work
    pipeline = beam.Pipeline("FnApiRunner")
    shards = pipeline | beam.Create([(shard, ()) for shard in planned])
    shards | ScoreShards(EqualScorer, settings, shared=Shared())
    result = pipeline.run()
    result.wait_until_finish()
    found = {m.key.metric.name: m.committed for m in result.metrics().query()["counters"]}
    expected = {"rows_in": 40, "rows_scored": 38, "rows_rejected": 2, "shards": 3}
    assert {name: found[name] for name in expected} == expected
    assert found["rejected_sentence_null"] == 2
    accounts = [shard_account.read_account(settings.claim.folder, shard.name) for shard in planned]
    assert [account.rows_rejected for account in accounts] == [1, 1, 0]


def test_a_shard_done_twice_leaves_the_same_bytes(work, tmp_path):
    (shard, *_), settings = work
    sums = []
    for _ in range(2):
        account = score_shard(shard, EqualScorer(), settings)
        paths = [tmp_path / "out" / file.name for file in account.files]
        assert [file.sha256 for file in account.files] == [
            hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
        ]
        sums.append(account.files)
    assert sums[0] == sums[1]


def test_scores_that_are_too_few_are_never_set_beside_other_rows(work):
    class Losing(EqualScorer):
        def score(self, side1, side2):
            arrays, counts = super().score(side1, side2)
            return [array.slice(1) for array in arrays], counts

    (shard, *_), settings = work
    account = score_shard(shard, Losing(), settings)
    assert account.rows_scored == 0
    assert account.rejected_by_reason == {"sentence_null": 1, "model_failed": 14}


def test_the_transform_can_travel(work):
    transform = ScoreShards(EqualScorer, work[1], shared=Shared())
    copy = pickle.loads(pickle.dumps(transform))
    assert copy._work._settings == work[1]


class Counted(EqualScorer):
    """Knows how often it was made."""

    made = 0

    def __init__(self):
        super().__init__()
        Counted.made += 1


def test_the_threads_of_a_worker_share_one_model(work):
    """Each thread has the work unpickled for itself; a worker on Dataflow has two."""
    sent = pickle.dumps(ScoreShards(Counted, work[1], shared=Shared())._work)
    Counted.made = 0
    threads = [pickle.loads(sent) for _ in range(4)]
    with ThreadPoolExecutor(len(threads)) as pool:
        list(pool.map(lambda each: each.setup(), threads))

    assert Counted.made == 1
    assert len({id(each._scorer) for each in threads}) == 1


class Watched:
    """An open file that notes which bytes are read."""

    def __init__(self, path: str, reads: list[tuple[int, int]]):
        self._file, self._reads = io.BytesIO(Path(path).read_bytes()), reads

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        content = self._file.read(size)
        self._reads.append((start, start + len(content)))
        return content

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def test_a_shard_opens_its_file_and_reads_its_footer_once(work, monkeypatch):
    planned, settings = work
    content = Path(planned[0].source).read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    opened, reads = [], []
    given = files.open_version

    def watch(path):
        opened.append(path)
        version = given(path)[1]
        return pa.PythonFile(Watched(path, reads), "r"), version

    monkeypatch.setattr(files, "open_version", watch)
    score_shard(planned[1], EqualScorer(), settings)
    assert opened == [planned[0].source]
    assert [start for start, end in reads if start <= footer < end] == [footer]
    opened.clear()
    reads.clear()
    plan_shards([planned[0].source], PairColumns(), shard_rows=15)
    assert opened == [planned[0].source]
    assert [start for start, end in reads if start <= footer < end] == [footer]
