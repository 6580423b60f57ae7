"""The accounts: what a folder of scores says, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from transforms.accounts import commit as commits
from transforms.accounts import output_folder, shard_account
from transforms.accounts.claims import Claim
from transforms.errors import RunError, UserError
from transforms.input.shards import RejectedFile, Shard


def shard(name: str, rows: int = 10, fingerprint: str = "f") -> Shard:
    return Shard(f"in/{name}", fingerprint, f"{name}-00000-of-00001.parquet", 0, 1, rows)


def finish(
    output: Path, shard: Shard, *, rejected: int = 0, key: str = "key"
) -> shard_account.ShardAccount:
    """Leaves a shard's files and its account, as scoring does."""
    written = shard_account.WrittenFile(shard.name, shard.rows - rejected, "sum", shard.source)
    (output / shard.name).write_bytes(b"rows")
    reasons = {"sentence_null": rejected} if rejected else {}
    account = shard_account.ShardAccount(
        shard.to_json(),
        key,
        shard.rows,
        shard.rows - rejected,
        rejected,
        reasons,
        {"sentences": 4},
        (written,),
    )
    shard_account.write_account(Claim(str(output)), account)
    return account


def commit(
    output: Path, *accounts: shard_account.ShardAccount, expected: list[str] | None = None, most=1.0
):
    names = [a.shard["name"] for a in accounts] if expected is None else expected
    return commits.commit(
        Claim(str(output)), accounts, expected=names, header={"x": 1}, gates=commits.Gates(most)
    )


def work(output: Path, *planned: Shard, key: str = "key", **how) -> output_folder.Work:
    return output_folder.open_output(str(output), planned, key, **{"overwrite": False, **how})


def begin(output: Path, *planned: Shard, key: str = "key", **how) -> output_folder.Work:
    return output_folder.begin(str(output), planned, key, **how)


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


A, B = shard("a"), shard("b")


def test_an_account_comes_back_as_it_was_written(output):
    account = finish(output, A, rejected=3)
    assert shard_account.read_account(str(output), A.name) == account


@pytest.mark.parametrize("change", [{"rows_in": 9}, {"rows_scored": 9}, {"rows_rejected": 1}])
def test_accounts_that_do_not_add_up_are_not_written(output, change):
    account = replace(finish(output, A), **change)
    with pytest.raises(RunError, match="must add up"):
        shard_account.write_account(Claim(str(output)), account)


def test_an_empty_folder_leaves_everything_to_do(output):
    assert work(output, A, B) == output_folder.Work((A, B), (), committed=False)
    assert work(output / "none", A) == output_folder.Work((A,), (), committed=False)


def test_finished_shards_are_done_and_a_commit_is_found(output):
    begin(output, A, B)
    first = finish(output, A)
    assert work(output, A, B) == output_folder.Work((B,), (A,), committed=False)
    manifest = commit(output, first, finish(output, B, rejected=2))
    assert work(output, A, B) == output_folder.Work((), (A, B), committed=True)
    totals = {name: manifest[name] for name in ("rows_in", "rows_scored", "rows_rejected")}
    assert totals == {"rows_in": 20, "rows_scored": 18, "rows_rejected": 2}
    assert (manifest["sentences"], manifest["sentences_encoded"], manifest["x"]) == (8, 0, 1)
    assert output_folder.read_manifest(str(output)) == manifest


def test_a_new_input_uncommits_without_touching_the_old(output):
    commit(output, finish(output, A))
    assert begin(output, A, B) == output_folder.Work((B,), (A,), committed=False)
    assert not (output / "_SUCCESS").exists() and not (output / "_manifest.json").exists()
    assert (output / A.name).exists()


def test_an_overwriting_run_that_is_tried_again_keeps_what_it_has_finished(output):
    commit(output, finish(output, A, key="older"))
    assert begin(output, A, B, overwrite=True).todo == (A, B)
    finish(output, A)  # and then it died
    written = (output / A.name).stat()
    again = begin(output, A, B, overwrite=True)
    assert (again.todo, again.done) == ((B,), (A,))
    assert (output / A.name).stat() == written


def test_an_account_without_its_file_is_done_again(output):
    finish(output, A)
    (output / A.name).unlink()
    assert work(output, A).todo == (A,)


@pytest.mark.parametrize(
    ("planned", "key", "message"),
    [
        ((A, B), "other", "another bundle, other options or other versions"),
        ((B,), "key", "in/a is not among the inputs now"),
        ((shard("a", fingerprint="g"),), "key", "in/a has changed since"),
    ],
)
def test_scores_of_another_run_are_kept_unless_overwritten(output, planned, key, message):
    commit(output, finish(output, A))
    before = sorted(output.rglob("*"))
    with pytest.raises(UserError, match=message):
        work(output, *planned, key=key)
    assert sorted(output.rglob("*")) == before
    assert work(output, *planned, key=key, overwrite=True).todo == planned
    assert sorted(output.rglob("*")) == before
    assert begin(output, *planned, key=key, overwrite=True).todo == planned
    left = [path.name for path in output.rglob("*") if path.is_file()]
    assert sorted(left) == ["claim.json", "plan.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_is_not_ours_is_never_touched(output, overwrite):
    commit(output, finish(output, A))
    (output / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes\.txt"):
        work(output, A, overwrite=overwrite)
    assert (output / "notes.txt").exists() and (output / "_SUCCESS").exists()


def test_what_a_dead_run_left_is_known_by_its_plan_and_tidied_at_the_commit(output):
    begin(output, A, B)
    account = finish(output, A)
    (output / B.name).write_bytes(b"no account of it")
    (output / "_tmp").mkdir(exist_ok=True)
    (output / "_tmp" / "half").write_bytes(b"x")
    (output / "._manifest.json.123").write_bytes(b"half")
    assert work(output, A).done == (A,)
    commit(output, account)
    left = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    assert left == [
        "_SUCCESS", "_manifest.json", f"_shards/{A.name}.json", "_shards/claim.json",
        "_shards/plan.json", A.name,
    ]  # fmt: skip


def test_a_shard_without_account_stops_the_commit(output):
    with pytest.raises(RunError, match="1 shards have no account"):
        commit(output, finish(output, A), expected=[A.name, B.name])
    assert not (output / "_manifest.json").exists()


@pytest.mark.parametrize(("rejected", "fails"), [(1, False), (2, True)])
def test_too_many_rejects_write_the_accounts_but_do_not_commit(output, rejected, fails):
    account = finish(output, A, rejected=rejected)
    if not fails:
        commit(output, account, most=0.1)  # 1 of 10 is just allowed
        return
    with pytest.raises(RunError, match=r"2 of 10 rows were rejected \(2 sentence_null\)"):
        commit(output, account, most=0.1)
    assert not (output / "_SUCCESS").exists()
    assert json.loads((output / "_shards" / "refused.json").read_text())["rows_rejected"] == 2


def test_other_files_left_out_make_another_commit(output):
    bad = RejectedFile("in/bad", "of another kind")
    commit(output, finish(output, A))
    assert work(output, A).committed
    assert not work(output, A, rejected=[bad]).committed


def test_a_folder_without_manifest_is_no_finished_run(output):
    with pytest.raises(UserError, match="not a finished run"):
        output_folder.read_manifest(str(output))


def test_the_run_key_is_that_of_the_options_and_of_nothing_else():
    assert shard_account.run_key(a=1, b=[2]) == shard_account.run_key(b=[2], a=1)
    assert shard_account.run_key(a=1) != shard_account.run_key(a=2)


def test_a_link_is_followed_and_what_is_no_folder_refused(tmp_path: Path):
    (tmp_path / "link").symlink_to("disk/real")
    with output_folder.claim_output(f"{tmp_path}/link", [shard("a")], "key") as found:
        assert len(found.todo) == 1
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk/real/_shards").is_dir()
    (tmp_path / "mine").write_text("years of work")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("mine", "is a file; expected a folder"), ("loop", "leads to itself")):
        with (
            pytest.raises(UserError, match=message),
            output_folder.claim_output(f"{tmp_path}/{name}", [], "key", overwrite=True),
        ):
            raise AssertionError("nothing may be begun")


@pytest.mark.parametrize("found", [{}, {"drift": float("nan")}, {"drift": 0.3}])
def test_drift_that_is_too_much_or_not_known_is_not_committed(found: dict[str, float]):
    manifest = {"rows_in": 9, "rows_scored": 9, "rows_rejected": 0, "drift": found}
    commits.Gates(0.1).judge(manifest, "out")
    commits.Gates(0.1, max_drift=0.2).judge({**manifest, "drift": {"drift": 0.2}}, "out")
    commits.Gates(0.1, max_drift=0.2).judge({**manifest, "rows_scored": 0, "drift": {}}, "out")
    with pytest.raises(RunError, match="--max_drift 0.2"):
        commits.Gates(0.1, max_drift=0.2).judge(manifest, "out")
