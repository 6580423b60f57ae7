"""Accounts added up in blocks come to what all of them together come to."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipelines.scoring import plan_scores
from tests.scoring_kit import EqualBundle, EqualScorer, pairs, run_score, write
from transforms.accounts import blocks, commit, list_shards, output_folder, shard_account
from transforms.accounts.claims import Claim
from transforms.drift import add_up
from transforms.errors import RunError
from transforms.input.shards import plan
from transforms.pairs import PairColumns

NAMES = [f"part-{number:03d}.parquet" for number in range(57)]


def account(name: str, rows: int = 10, rejected: int = 1) -> shard_account.ShardAccount:
    written = shard_account.WrittenFile(name, rows - rejected, "sum", "in")
    return shard_account.ShardAccount(
        {"name": name, "rows": rows, "source": "in"},
        "key",
        rows,
        rows - rejected,
        rejected,
        {"null": rejected},
        {"sentences": 2 * rows},
        (written,),
        started=float(len(name)),
        finished=100.0 + rows,
        profile={"lengths": [rows, 1]},
    )


@pytest.mark.parametrize("inline", [True, False])
def test_blocks_come_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SHARDS", 10)
    monkeypatch.setattr(blocks, "INLINE_SHARDS", 100 if inline else 10)
    accounts = [account(name, rows=number + 1) for number, name in enumerate(NAMES)]
    planned = blocks.AccountBlocks.plan(Claim(str(tmp_path)), NAMES)
    places: dict[int, list] = {}
    for number, each in enumerate(random.Random(1).sample(accounts, len(accounts))):
        new = number % 2 == 0
        places.setdefault(planned.place(each.shard["name"]), []).extend([(new, each)] * 2)
    assert {place: len(part) for place, part in sorted(places.items())} == {
        **{place: 20 for place in range(1, 6)},
        6: 14,  # each account came twice, and counts once
    }
    whole = blocks.merge([planned.add_up(place, part) for place, part in places.items()])
    summary = shard_account.summarise(accounts)
    listed = list(output_folder.manifest_files(str(tmp_path), whole.summary))
    assert listed == summary.pop("files")
    for key in summary:
        assert whole.summary[key] == summary[key]
    assert whole.shards == 57 and sorted(whole.names) == (NAMES if inline else [])
    assert ("files" in whole.summary) == inline
    assert (len(whole.listed), whole.fresh_shards) == (0 if inline else 6, 29)
    assert whole.profile == add_up(each.profile for each in accounts)
    assert (whole.first, whole.last) == (float(len(NAMES[0])), pytest.approx(157, abs=2))


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_scores, "BundleScorer", EqualBundle)


def test_a_plan_of_many_shards(
    tmp_path: Path, bundle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in.parquet", pairs(70), row_group_size=10)
    flags = ("--shard_rows", "10")
    plain = run_score(tmp_path / "in.parquet", tmp_path / "plain", *flags)
    monkeypatch.setattr(blocks, "INLINE_SHARDS", 3)
    monkeypatch.setattr(list_shards, "INLINE_SHARDS", 3)
    monkeypatch.setattr(blocks, "BLOCK_SHARDS", 2)
    monkeypatch.setattr(list_shards, "PART_SHARDS", 2)
    output = tmp_path / "many"
    manifest = run_score(tmp_path / "in.parquet", output, *flags)
    assert manifest["files_listed"] == [f"_shards/files-{n:05d}.json" for n in (1, 2, 3, 4)]
    assert "files" not in manifest
    assert list(output_folder.manifest_files(str(output), manifest)) == plain["files"]
    for key in ("rows_in", "rows_scored", "rows_rejected", "shards", "sentences"):
        assert manifest[key] == plain[key]

    (output / plain["files"][4]["name"]).unlink()  # a shard's file is lost: it is done again
    again = run_score(tmp_path / "in.parquet", output, *flags)
    assert (again["shards_this_run"], again["rows_this_run"], again["rows_in"]) == (1, 10, 70)
    assert list(output_folder.manifest_files(str(output), again)) == plain["files"]


def test_missing_shards_of_many_are_counted() -> None:
    with pytest.raises(RunError, match="2 shards have no account; run again"):
        commit.check_complete((), (), 2)


def test_a_job_that_starts_anew_keeps_finished_shards(
    tmp_path: Path, bundle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runners give work out again after a worker is lost; here the commit fails and is tried."""
    write(tmp_path / "in.parquet", pairs(40), row_group_size=10)
    first = run_score(tmp_path / "in.parquet", tmp_path / "out", "--shard_rows", "10")
    (tmp_path / "out/_SUCCESS").unlink()
    shards = plan([str(tmp_path / "in.parquet")], PairColumns(), shard_rows=10).shards
    key = shard_account.read_account(str(tmp_path / "out"), shards[0].name).run_key
    found = [shard_account.find_account(str(tmp_path / "out"), shard, key) for shard in shards]
    assert [each.files[0].name for each in found if each] == [f["name"] for f in first["files"]]
    assert shard_account.find_account(str(tmp_path / "out"), shards[0], "another") is None
    (tmp_path / "out" / first["files"][1]["name"]).unlink()
    assert shard_account.find_account(str(tmp_path / "out"), shards[1], key) is None


class NoScorer:
    """Cannot score."""


def test_shards_with_an_account_are_not_scored(tmp_path: Path) -> None:
    import apache_beam as beam
    from apache_beam.testing.util import assert_that, equal_to
    from apache_beam.utils.shared import Shared

    from transforms.input.shards import plan_shards
    from transforms.scoring.score_shards import ScoreSettings, ScoreShards

    path = str(write(tmp_path / "in.parquet", pairs(20), row_group_size=10))
    shards = plan_shards([path], PairColumns(), shard_rows=10)
    settings = ScoreSettings(Claim(str(tmp_path / "out")), "key")

    def run(load) -> None:
        with beam.Pipeline("FnApiRunner") as pipeline:
            accounts = (
                pipeline
                | beam.Create([(shard, ()) for shard in shards])
                | ScoreShards(load, settings, shared=Shared())
            )
            assert_that(accounts | beam.Map(lambda a: a.rows_scored), equal_to([10, 10]))

    run(EqualScorer)
    run(NoScorer)  # only accounts are read
