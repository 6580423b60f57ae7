"""What an output folder holds, and what is left to do in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from transforms.accounts.claims import CLAIM, Claim, is_closing_mark, is_replacing_mark, take
from transforms.accounts.shard_account import (
    MANIFEST,
    SHARDS_FOLDER,
    SUCCESS,
    ShardAccount,
    account_name,
    read_account,
    rejects_name,
)
from transforms.errors import UserError
from transforms.input.shards import RejectedFile, Shard
from transforms.storage import files
from transforms.storage.lock import lock
from transforms.threads import LOCAL_THREADS, in_threads

DRIFT_PAGE = "_drift.html"
CLUSTERS_PAGE = "_clusters.html"

PLAN = "plan.json"

LISTS = f"{SHARDS_FOLDER}/files-"

LOCK = "_LOCK"
ACCOUNT_THREADS = 64

EARLIER_MANIFEST = "manifest.json"
EARLIER_REJECTS = "rejects"


def read_manifest(output: str) -> dict[str, Any]:
    """The manifest of a committed run.

    Raises:
        UserError: the folder has none, or it is not a JSON object.
    """
    path = find_manifest(output)
    if path is None:
        raise UserError(f"{output} has no {MANIFEST}; it is not a finished run of twinbeam")
    return read_object(path)


def find_manifest(output: str) -> str | None:
    """The path of the manifest, also where it has its earlier name; None where there is none."""
    paths = (files.join(output, name) for name in (MANIFEST, EARLIER_MANIFEST))
    return next((path for path in paths if files.exists(path)), None)


def manifest_files(output: str, manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The files that a manifest lists, itself or in files beside it where they are very many."""
    yield from manifest.get("files", ())
    for name in manifest.get("files_listed", ()):
        yield from files.read_json(files.join(output, *name.split("/")))


def read_object(path: str) -> dict[str, Any]:
    """The JSON object in a file that a run wrote."""
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object; it was changed")
    return content


@dataclass(frozen=True)
class Work:
    """What an output folder leaves to do.

    Attributes:
        todo: shards to score.
        done: shards that an earlier run of the same kind finished.
        committed: whether nothing is left to do, and the folder says so.
        claim: the run's claim to the folder; it has none before `begin`.
        replaces: whether another run's scores are to be deleted first.
        contents: what the folder held when it was looked at.
    """

    todo: tuple[Shard, ...]
    done: tuple[Shard, ...]
    committed: bool
    claim: Claim = field(default=Claim(""), compare=False)
    replaces: bool = False
    contents: _Contents | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class _Contents:
    """What a folder holds: its files' versions, accounts, and outputs without an account."""

    versions: dict[str, str]
    accounts: dict[str, ShardAccount]
    leftovers: set[str]

    @property
    def names(self) -> set[str]:
        """Of all files."""
        return set(self.versions)


def open_output(
    output: str,
    shards: Sequence[Shard],
    key: str,
    *,
    overwrite: bool,
    rejected: Sequence[RejectedFile] = (),
) -> Work:
    """Compares a plan with what the output folder holds, and changes nothing.

    Args:
        output: the output folder; it need not exist.
        shards: the plan.
        key: the run's key (see `run_key`).
        overwrite: what an earlier, different run left may be replaced.
        rejected: input files that are left out; the manifest has to name the same ones.

    Raises:
        UserError: the folder holds something that this run would not have made.
    """
    found = _look(output)
    if _check_same(found, shards, key, output, overwrite=overwrite):
        work = _remaining(shards, found)
        marked = {SUCCESS, MANIFEST} <= found.names and not found.leftovers
        committed = marked and not work.todo and _names_rejected(output, rejected)
        return replace(work, committed=committed)
    return Work(tuple(shards), (), committed=False, replaces=True, contents=found)


def begin(
    output: str,
    shards: Sequence[Shard],
    key: str,
    *,
    overwrite: bool = False,
    seen: Work | None = None,
) -> Work:
    """Takes the folder over, and notes what the run is about to write there.

    A run that began before will neither commit nor write anything more (see `claims`). Readers must
    not take an older commit for this one, so its marks go first. Of another run's scores the marks
    go, then the files, then the accounts: killed anywhere between, the same command resumes, since
    what is left is known by its account or by the plan, which is replaced last.

    Args:
        output: see `open_output`, as are the others.
        shards: the plan.
        key: the run's key.
        overwrite: whether another run's scores may be replaced.
        seen: what `open_output` found; accounts that are as they were are not read again.

    Returns:
        What is to be done, with the claim to write by.
    """
    seen = seen or open_output(output, shards, key, overwrite=overwrite)
    replacing = seen.replaces
    # Looked at again after the claim was taken: what another run had revealed until then is seen
    # here, and later it can reveal nothing.
    claim = take(output, replacing=replacing)
    found = _look(output, seen.contents)
    same = _check_same(found, shards, key, output, overwrite=overwrite)
    marked = claim.replacing_mark in found.versions
    if marked != replacing or not (same or replacing):  # another run has been here meanwhile
        return begin(output, shards, key, overwrite=overwrite)
    for names in _stale(found, everything=replacing):
        claim.delete({name: found.versions[name] for name in names if name != claim.replacing_mark})
    work = Work(tuple(shards), (), committed=False) if replacing else _remaining(shards, found)
    if replacing:
        claim.delete({claim.replacing_mark: found.versions[claim.replacing_mark]})
    plan = {"run_key": key, "shards": [shard.name for shard in shards]}
    claim.write(f"{SHARDS_FOLDER}/{PLAN}", files.as_json(plan))
    return replace(work, claim=claim)


@contextmanager
def claim_output(
    output: str,
    shards: Sequence[Shard],
    key: str,
    *,
    overwrite: bool = False,
    rejected: Sequence[RejectedFile] = (),
) -> Iterator[Work]:
    """Claims an output folder for a run, and yields what is left to do in it.

    Nothing is claimed where nothing is to be done (`committed`). On this machine a lock keeps a
    second launcher away; the claim keeps away what a launcher has left behind, and other machines.

    Raises:
        UserError: another run is at work there, or the folder holds what this one does not make,
            or it can be no folder.
    """
    files.check_may_be_folder(output)
    busy = f"{output} is being written by another run; wait for it, or choose another folder"
    with lock(files.join(output, LOCK), busy=busy):
        work = open_output(output, shards, key, overwrite=overwrite, rejected=rejected)
        yield work if work.committed else begin(output, shards, key, overwrite=overwrite, seen=work)


def _look(output: str, known: _Contents | None = None) -> _Contents:
    versions = {name: mark for name, mark in files.versions(output).items() if name != LOCK}
    accounts = _accounts(output, versions, known or _Contents({}, {}, set()))
    leftovers = _leftovers(output, accounts, list(versions))
    foreign = sorted(set(versions) - _ours(accounts, list(versions)) - leftovers)
    if foreign:
        raise UserError(
            f"{output} holds {foreign[0]!r}, which no run of twinbeam wrote; choose an empty folder"
        )
    return _Contents(versions, accounts, leftovers)


def _check_same(
    found: _Contents, shards: Sequence[Shard], key: str, output: str, *, overwrite: bool
) -> bool:
    """Whether the content is of the same run; that of another may only be overwritten."""
    trouble = _earlier(found.names) or _difference(found.accounts, shards, key)
    if trouble and not overwrite:
        raise UserError(
            f"{output} holds scores of another run ({trouble}); "
            "choose another folder, or give --overwrite to score everything again"
        )
    return trouble is None and not any(map(is_replacing_mark, found.names))


def _stale(found: _Contents, *, everything: bool) -> Iterator[list[str]]:
    """Names to delete, in steps that follow one another."""
    marks = (SUCCESS, MANIFEST, EARLIER_MANIFEST)
    yield from ([name] for name in marks if name in found.names)
    beside = {name for name in found.names if not name.startswith(f"{SHARDS_FOLDER}/")}
    rest = found.names - beside - {f"{SHARDS_FOLDER}/{name}" for name in (PLAN, CLAIM)}
    if everything:
        yield sorted(beside - {*marks})
        yield sorted(rest)
    else:
        yield sorted(found.leftovers)
        yield sorted(name for name in rest if is_closing_mark(name))


def _names_rejected(output: str, rejected: Sequence[RejectedFile]) -> bool:
    return read_manifest(output).get("files_rejected", []) == [asdict(file) for file in rejected]


def _remaining(shards: Sequence[Shard], found: _Contents) -> Work:
    def finished(shard: Shard) -> bool:
        account = found.accounts.get(shard.name)
        return account is not None and all(file.name in found.versions for file in account.files)

    done = tuple(shard for shard in shards if finished(shard))
    todo = tuple(shard for shard in shards if not finished(shard))
    return Work(todo, done, committed=False, contents=found)


def _accounts(output: str, versions: dict[str, str], known: _Contents) -> dict[str, ShardAccount]:
    """The existing accounts; those that are known, and have not changed, are not read."""
    suffix = ".parquet.json"
    shards = [
        name.removeprefix(SHARDS_FOLDER + "/").removesuffix(".json")
        for name in versions
        if name.startswith(SHARDS_FOLDER + "/") and name.endswith(suffix)
    ]

    def look(name: str) -> ShardAccount | None:
        place = account_name(name)
        if name in known.accounts and known.versions[place] == versions[place]:
            return known.accounts[name]
        try:
            account = read_account(output, name)
        except FileNotFoundError:  # a run that was superseded just now is still deleting
            return None
        # Without what only the sums need: there may be very many accounts in memory.
        return replace(account, profile={}, counts={}, rejected_by_reason={})

    threads = LOCAL_THREADS if files.is_local(output) else ACCOUNT_THREADS
    found = list(in_threads(look, shards, threads))
    return {name: account for name, account in zip(shards, found, strict=True) if account}


def _ours(accounts: dict[str, ShardAccount], names: Sequence[str]) -> set[str]:
    listed = {file.name for account in accounts.values() for file in account.files}
    folders = (files.TEMPORARY_FOLDER, SHARDS_FOLDER, EARLIER_REJECTS)
    hidden = {name for name in names if name.startswith(tuple(f"{folder}/" for folder in folders))}
    last = {MANIFEST, SUCCESS, DRIFT_PAGE, CLUSTERS_PAGE, EARLIER_MANIFEST, "drift.html"}
    halves = tuple(f".{name}." for name in last)  # a file that was being written when its run died
    beside = {name for name in names if name.startswith(halves)}
    return listed | hidden | beside | last


def _leftovers(output: str, accounts: dict[str, ShardAccount], names: Sequence[str]) -> set[str]:
    """Outputs that a run wrote before it died, and did not come to account for."""
    if f"{SHARDS_FOLDER}/{PLAN}" not in names:
        return set()
    path = files.join(output, SHARDS_FOLDER, PLAN)
    planned = read_object(path).get("shards")
    if not isinstance(planned, list) or not all(isinstance(name, str) for name in planned):
        raise UserError(f"{path} is not the plan of a run; delete it, or give another --output")
    written = {name for shard in planned for name in (shard, rejects_name(shard))}
    listed = {file.name for account in accounts.values() for file in account.files}
    return (written & set(names)) - listed


def _earlier(names: Collection[str]) -> str | None:
    found = {name.split("/")[0] for name in names} & {EARLIER_MANIFEST, EARLIER_REJECTS}
    return f"of an earlier version, with {min(found)} among the scores" if found else None


def _difference(accounts: dict[str, ShardAccount], shards: Sequence[Shard], key: str) -> str | None:
    planned = {shard.name: shard for shard in shards}
    sources = {shard.source for shard in shards}
    for name, account in sorted(accounts.items()):
        source = account.shard["source"]
        if account.run_key != key:
            return "another bundle, other options or other versions"
        if name not in planned and source not in sources:
            return f"{source} is not among the inputs now"
        if name not in planned or account.shard["fingerprint"] != planned[name].fingerprint:
            return f"{source} has changed since"
    return None
