"""What the accounts of shards come to, by hand; every number is another, so that none is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from transforms.accounts import commit as commits
from transforms.accounts import shard_account
from transforms.accounts.blocks import AccountBlocks, merge
from transforms.accounts.claims import Claim
from transforms.accounts.shard_account import ShardAccount, WrittenFile
from transforms.errors import RunError, UserError
from transforms.input.shards import Shard


def account(
    name: str, scored: int, rejected: dict[str, int], counts: dict[str, int], *, at: float = 0.0
) -> ShardAccount:
    rows, lost = scored + sum(rejected.values()), sum(rejected.values())
    shard = Shard(f"in/{name}", "mark", f"{name}-00000-of-00001.parquet", 0, 1, rows)
    files = (WrittenFile(shard.name, scored, f"sum of {name}", shard.source),)
    return ShardAccount(
        shard.to_json(), "key", rows, scored, lost, rejected, counts, files, at, at + 0.5
    )


A = account("a", 100, {"sentence_null": 1, "sentence_blank": 2}, {"sentences": 7}, at=5.0)
B = account("b", 2_000, {"sentence_null": 10}, {"sentences": 70, "sentences_encoded": 3}, at=2.0)
C = account("c", 30_000, {}, {"sentences_encoded": 400, "model_calls": 5}, at=9.0)
TOTAL = {
    "sentences": 77,
    "sentences_encoded": 403,
    "model_calls": 5,
    "rows_in": 32_113,
    "rows_scored": 32_100,
    "rows_rejected": 13,
    "rejected_by_reason": {"sentence_blank": 2, "sentence_null": 11},
    "shards": 3,
    "files": [
        {"name": f"{x}-00000-of-00001.parquet", "rows": rows, "sha256": f"sum of {x}",
         "source": f"in/{x}"}
        for x, rows in (("a", 100), ("b", 2_000), ("c", 30_000))
    ],
}  # fmt: skip


def test_every_number_is_added_up():
    assert shard_account.summarise([A, B, C]) == TOTAL
    assert list(shard_account.summarise([A, B, C])["rejected_by_reason"]) == [
        "sentence_blank",
        "sentence_null",
    ]


def test_no_account_is_nothing():
    nothing = shard_account.summarise([])
    assert nothing.pop("rejected_by_reason") == {} and nothing.pop("files") == []
    assert set(nothing.values()) == {0}


@pytest.mark.parametrize("parts", [[[A, B, C]], [[A], [B, C]], [[C], [B], [A]], [[A, B], [], [C]]])
def test_blocks_of_any_size_come_to_the_same(tmp_path: Path, parts: list[list[ShardAccount]]):
    blocks = AccountBlocks.plan(Claim(str(tmp_path)), [x.shard["name"] for x in (A, B, C)])
    new = {A.shard["name"], C.shard["name"]}
    made = [
        blocks.add_up(place, [(each.shard["name"] in new, each) for each in part])
        for place, part in enumerate(parts)
    ]
    whole = merge(made)

    assert whole.summary == TOTAL
    assert set(whole.names) == {x.shard["name"] for x in (A, B, C)} and whole.shards == 3
    assert (whole.fresh_shards, whole.fresh_rows) == (2, A.rows_in + C.rows_in)
    assert (whole.first, whole.last) == (5.0, 9.5), "of what this run did alone"


def test_an_account_that_comes_twice_counts_once(tmp_path: Path):
    blocks = AccountBlocks.plan(Claim(str(tmp_path)), [A.shard["name"]])
    block = blocks.add_up(0, [(True, A), (True, A)])
    assert (block.shards, block.fresh_shards, block.summary["rows_in"]) == (1, 1, 103)


@pytest.mark.parametrize(
    "change",
    [{"rows_in": 102}, {"rows_scored": 99}, {"rows_rejected": 4},
     {"rows_in": 104, "rows_scored": 101}, {"shard": {**A.shard, "rows": 104}}],
)  # fmt: skip
def test_rows_lost_or_doubled_are_said_with_all_four_numbers(change: dict):
    wrong = replace(A, **change)
    with pytest.raises(RunError, match="must add up") as raised:
        wrong.check()
    for number in (wrong.shard["rows"], wrong.rows_in, wrong.rows_scored, wrong.rows_rejected):
        assert str(number) in str(raised.value)
    assert A.check() is A


def test_an_account_is_found_where_all_of_it_is_the_same(tmp_path: Path):
    shard = Shard(**{**A.shard, "partitions": ()})
    assert shard_account.find_account(str(tmp_path), shard, "key") is None
    (tmp_path / shard.name).write_bytes(b"rows")
    shard_account.write_account(Claim(str(tmp_path)), A)

    assert shard_account.find_account(str(tmp_path), shard, "key") == A
    assert shard_account.find_account(str(tmp_path), shard, "another key") is None
    for other in ({"fingerprint": "other"}, {"end_row_group": 2}, {"int96": "ns"}):
        assert shard_account.find_account(str(tmp_path), replace(shard, **other), "key") is None
    (tmp_path / shard.name).unlink()
    assert shard_account.find_account(str(tmp_path), shard, "key") is None


@pytest.mark.parametrize("content", ["{}", "[]", '{"files": []}', '{"files": [1]}', "7"])
def test_what_is_no_account_is_named(tmp_path: Path, content: str):
    (tmp_path / "_shards").mkdir()
    (tmp_path / "_shards" / "a.parquet.json").write_text(content)
    with pytest.raises(UserError, match="is not the account of a shard; delete it"):
        shard_account.read_account(str(tmp_path), "a.parquet")


@pytest.mark.parametrize(
    ("name", "scores"),
    [("a.parquet", True), ("day=1/a.parquet", True), ("day=1/hour=2/a.parquet", True),
     ("_rejects/a.parquet", False), ("a.parquet.json", False), ("day=1/x/a.parquet", False),
     ("_shards/day=1/a.parquet.json", False), ("_manifest.json", False)],
)  # fmt: skip
def test_what_is_called_like_scores(name: str, scores: bool):
    assert shard_account.is_scores(name) == scores


def test_names_of_what_belongs_to_a_shard():
    assert shard_account.rejects_name("day=1/a.parquet") == "_rejects/day=1/a.parquet.rejected"
    assert shard_account.account_name("day=1/a.parquet") == "_shards/day=1/a.parquet.json"


def test_the_run_key_is_of_every_part_and_not_of_the_order():
    key = shard_account.run_key(a=1, b=[2])
    assert key == shard_account.run_key(b=[2], a=1) and len(key) == 32
    assert len({key, shard_account.run_key(a=1, b=[3]), shard_account.run_key(a=1)}) == 3


@pytest.mark.parametrize(
    ("rejected", "most", "passes"),
    [(13, 13 / 32_113, True), (14, 13 / 32_113, False), (0, 0.0, True), (1, 0.0, False)],
)
def test_a_limit_may_be_reached_and_not_exceeded(rejected: int, most: float, passes: bool):
    manifest = {"rows_in": 32_113, "rows_rejected": rejected, "rejected_by_reason": {"x": rejected}}
    gates = commits.Gates(most)
    if passes:
        gates.judge(manifest, "out")
    else:
        with pytest.raises(RunError, match=f"{rejected} of 32113 rows were rejected"):
            gates.judge(manifest, "out")
