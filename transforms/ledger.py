"""The accounts of a run: one for each finished shard, and the manifest that commits them all.

A finished shard leaves its account in `_shards/`; that file is the shard's own commit, so a run
that died goes on from the accounts it finds. `manifest.json` and `_SUCCESS` come last.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from transforms import files
from transforms.errors import RunError, UserError
from transforms.shards import RejectedFile, Shard

MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
DRIFT_PAGE = "drift.html"
SHARDS_FOLDER = "_shards"
REJECTS_FOLDER = "rejects"
PLAN = "plan.json"
LISTS = f"{SHARDS_FOLDER}/files-"
TODO = f"{SHARDS_FOLDER}/todo-"
PART_SHARDS = 1_000
REFUSED = "refused.json"
LOCK = "_LOCK"


@dataclass(frozen=True)
class WrittenFile:
    """A file that a shard left: its name below the output folder, its rows and its sum."""

    name: str
    rows: int
    sha256: str
    source: str


@dataclass(frozen=True)
class ShardAccount:
    """What became of one shard.

    Attributes:
        shard: the shard as planned.
        run_key: fingerprint of all that decides the output's bytes, but the input.
        rows_in: rows read.
        rows_scored: rows written with a similarity.
        rows_rejected: rows written to `rejects/`.
        rejected_by_reason: rows rejected, by `reject_reason`.
        counts: further counts, such as sentences and sentences encoded.
        files: what was written.
        started: when work on the shard began, seconds since 1970.
        finished: when it ended.
        profile: what drift is told from (see `transforms.drift`).
    """

    shard: dict[str, Any]
    run_key: str
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rejected_by_reason: dict[str, int]
    counts: dict[str, int] = field(default_factory=dict)
    files: tuple[WrittenFile, ...] = ()
    started: float = 0.0
    finished: float = 0.0
    profile: dict[str, list[int]] = field(default_factory=dict)

    def check(self) -> ShardAccount:
        """Holds the promise that every row is accounted for.

        Raises:
            RunError: a row was lost or doubled.
        """
        if not self.rows_in == self.shard["rows"] == self.rows_scored + self.rows_rejected:
            raise RunError(
                f"{self.shard['name']}: {self.shard['rows']} rows planned, {self.rows_in} read, "
                f"{self.rows_scored} scored, {self.rows_rejected} rejected: they must add up"
            )
        return self


def run_key(**decides: Any) -> str:
    """A fingerprint of all that decides the bytes of a shard's output, but its input."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def write_account(output: str, account: ShardAccount) -> None:
    """Commits a shard: from here on it is not done again."""
    files.write_json(_account_path(output, account.shard["name"]), asdict(account.check()))


def read_account(output: str, name: str) -> ShardAccount:
    """The account of a finished shard."""
    path = _account_path(output, name)
    content = files.read_json(path)
    try:
        content["files"] = tuple(WrittenFile(**file) for file in content["files"])
        return ShardAccount(**content).check()
    except (TypeError, KeyError, AttributeError, RunError):
        raise UserError(
            f"{path} is not the account of a shard; delete it to have the shard scored again"
        ) from None


def find_account(output: str, shard: Shard, key: str) -> ShardAccount | None:
    """The account that an attempt before this one left, where its files are there too.

    A runner that lost a worker may give out finished shards again, or start the job anew.
    """
    if not files.exists(_account_path(output, shard.name)):
        return None
    account = read_account(output, shard.name)
    same = account.run_key == key and account.shard == shard.to_json()
    there = (files.exists(files.join(output, *file.name.split("/"))) for file in account.files)
    return account if same and all(there) else None


def read_manifest(output: str) -> dict[str, Any]:
    """The manifest of a committed run.

    Raises:
        UserError: the folder has none, or it is no JSON object.
    """
    path = files.join(output, MANIFEST)
    if not files.exists(path):
        raise UserError(f"{output} has no {MANIFEST}; it is no finished run of twinbeam")
    return _object(path)


def manifest_files(output: str, manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The files that a manifest lists, itself or in files beside it where they are very many."""
    yield from manifest.get("files", ())
    for name in manifest.get("files_listed", ()):
        yield from files.read_json(files.join(output, *name.split("/")))


def _object(path: str) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object; it was changed")
    return content


def _account_path(output: str, shard_name: str) -> str:
    return files.join(output, SHARDS_FOLDER, shard_name + ".json")


@dataclass(frozen=True)
class Work:
    """What an output folder leaves to do: shards to score, shards done, and whether it is whole."""

    todo: tuple[Shard, ...]
    done: tuple[Shard, ...]
    committed: bool


def open_output(
    output: str,
    shards: Sequence[Shard],
    key: str,
    *,
    overwrite: bool,
    rejected: Sequence[RejectedFile] = (),
) -> Work:
    """Compares a plan with what the output folder holds.

    Args:
        output: the output folder; it need not exist.
        shards: the plan.
        key: the run's key (see `run_key`).
        overwrite: delete what an earlier, different run left.
        rejected: input files that are left out; the manifest has to name the same ones.

    Raises:
        UserError: the folder holds something that this run would not have made.
    """
    names = [name for name in files.list_folder(output) if name != LOCK]
    accounts = _accounts(output, names)
    leftovers = _leftovers(output, accounts, names)
    foreign = sorted(set(names) - _ours(accounts, names) - leftovers)
    if foreign:
        raise UserError(
            f"{output} holds {foreign[0]!r}, which no scoring run wrote; choose an empty folder"
        )
    trouble = _difference(accounts, shards, key)
    if trouble and not overwrite:
        raise UserError(
            f"{output} holds scores of another run ({trouble}); "
            "choose another folder, or give --overwrite to score everything again"
        )
    if overwrite:
        _delete(output, names)
        return Work(tuple(shards), (), committed=False)
    stale = bool(leftovers) or not _names_rejected(output, names, rejected)
    return _remaining(shards, accounts, set(names), stale, output)


def _names_rejected(output: str, names: Sequence[str], rejected: Sequence[RejectedFile]) -> bool:
    if MANIFEST not in names:
        return True
    return read_manifest(output).get("files_rejected", []) == [asdict(file) for file in rejected]


def _remaining(
    shards: Sequence[Shard],
    accounts: dict[str, ShardAccount],
    names: set[str],
    untidy: bool,
    output: str,
) -> Work:
    def finished(shard: Shard) -> bool:
        account = accounts.get(shard.name)
        return account is not None and all(file.name in names for file in account.files)

    done = tuple(shard for shard in shards if finished(shard))
    todo = tuple(shard for shard in shards if not finished(shard))
    committed = not todo and not untidy and {SUCCESS, MANIFEST} <= names
    if not committed:  # readers must not take an older commit for this one
        _delete(output, sorted(names & {SUCCESS, MANIFEST}))
    return Work(todo, done, committed)


def begin(output: str, shards: Sequence[Shard], key: str) -> str:
    """Notes what a run is about to write, so that its leftovers are known for its own.

    A run that begins takes the folder over: one that began before it will not commit.

    Returns:
        The run's name, to commit with.
    """
    run = uuid.uuid4().hex
    files.write_json(
        files.join(output, SHARDS_FOLDER, PLAN),
        {"run_key": key, "run": run, "shards": [shard.name for shard in shards]},
    )
    return run


def write_todo(output: str, label: str, shards: Sequence[Shard]) -> list[str]:
    """Writes shards to files, for a graph that would be too large with all of them in it.

    Returns:
        Paths for `read_todo`.
    """
    parts = [shards[first : first + PART_SHARDS] for first in range(0, len(shards), PART_SHARDS)]
    names = [f"{TODO}{label}-{place:05d}.json" for place in range(len(parts))]
    paths = [files.join(output, *name.split("/")) for name in names]
    with ThreadPoolExecutor(max_workers=16) as pool:
        content = [[shard.to_json() for shard in part] for part in parts]
        list(pool.map(files.write_json, paths, content))
    return paths


def read_todo(path: str) -> list[Shard]:
    """The shards of a file that `write_todo` wrote."""
    return [Shard(**shard) for shard in files.read_json(path)]


def _delete(output: str, names: Sequence[str]) -> None:
    files.delete([files.join(output, *name.split("/")) for name in names])


def _accounts(output: str, names: Sequence[str]) -> dict[str, ShardAccount]:
    suffix = ".parquet.json"
    shards = [
        name.removeprefix(SHARDS_FOLDER + "/").removesuffix(".json")
        for name in names
        if name.startswith(SHARDS_FOLDER + "/") and name.endswith(suffix)
    ]

    def look(name: str) -> ShardAccount:  # without what only the sums need: there may be very many
        return replace(read_account(output, name), profile={}, counts={}, rejected_by_reason={})

    with ThreadPoolExecutor(max_workers=64) as pool:
        found = list(pool.map(look, shards))
    return dict(zip(shards, found, strict=True))


def _ours(accounts: dict[str, ShardAccount], names: Sequence[str]) -> set[str]:
    listed = {file.name for account in accounts.values() for file in account.files}
    hidden = {
        name
        for name in names
        if name.startswith((files.TEMPORARY_FOLDER + "/", SHARDS_FOLDER + "/"))
    }
    last = {MANIFEST, SUCCESS, DRIFT_PAGE}
    halves = tuple(f".{name}." for name in last)  # a file that was being written when its run died
    beside = {name for name in names if name.startswith(halves)}
    return listed | hidden | beside | last


def _leftovers(output: str, accounts: dict[str, ShardAccount], names: Sequence[str]) -> set[str]:
    """Outputs that a run wrote before it died, and did not come to account for."""
    if f"{SHARDS_FOLDER}/{PLAN}" not in names:
        return set()
    path = files.join(output, SHARDS_FOLDER, PLAN)
    planned = _object(path).get("shards")
    if not isinstance(planned, list) or not all(isinstance(name, str) for name in planned):
        raise UserError(f"{path} is not the plan of a run; delete it, or give another --output")
    written = {name for shard in planned for name in (shard, f"{REJECTS_FOLDER}/{shard}")}
    listed = {file.name for account in accounts.values() for file in account.files}
    return (written & set(names)) - listed


def _difference(accounts: dict[str, ShardAccount], shards: Sequence[Shard], key: str) -> str | None:
    planned = {shard.name: shard for shard in shards}
    sources = {shard.source for shard in shards}
    for name, account in sorted(accounts.items()):
        source = account.shard["source"]
        if account.run_key != key:
            return "another bundle or other options"
        if name not in planned and source not in sources:
            return f"{source} is not among the inputs now"
        if name not in planned or account.shard["fingerprint"] != planned[name].fingerprint:
            return f"{source} has changed since"
    return None


def commit(
    output: str,
    accounts: Iterable[ShardAccount],
    *,
    expected: Sequence[str],
    header: dict[str, Any],
    max_reject_fraction: float,
    more_counts: Sequence[dict[str, int]] = (),
    run: str | None = None,
) -> dict[str, Any]:
    """Writes the manifest and `_SUCCESS`, once every shard is there and the accounts add up.

    Both are created on the condition that they are not there, so two runs cannot both commit;
    the same run may, again, as runners do a step twice.

    Args:
        output: the output folder.
        accounts: of all shards, finished now or earlier.
        expected: names of all shards in the plan.
        header: what the manifest says besides the accounts (bundle, options, versions, seconds).
        max_reject_fraction: above it the run fails with its accounts written but not committed.
        more_counts: counts that belong to no shard alone, added to the shards' own.
        run: the name that `begin` gave.

    Returns:
        The manifest.

    Raises:
        RunError: a shard is missing, too many rows were rejected, or another run has taken over.
    """
    by_name = {account.shard["name"]: account.check() for account in accounts}
    check_complete(expected, by_name)
    return publish(
        output,
        summarise([by_name[name] for name in sorted(expected)]),
        header=header,
        max_reject_fraction=max_reject_fraction,
        more_counts=more_counts,
        run=run,
    )


def check_complete(expected: Collection[str], found: Collection[str], shards: int = 0) -> None:
    """Checks that each shard of the plan has an account.

    Args:
        expected: names of all shards in the plan, or none where only their number is known.
        found: names of the shards that have one.
        shards: how many are missing, where names are not known.

    Raises:
        RunError: a shard is missing.
    """
    missing = sorted(set(expected) - set(found))
    if missing or shards:
        among = f", {missing[0]} among them" if missing else ""
        raise RunError(f"{len(missing) or shards} shards have no account{among}; run again")


def publish(
    output: str,
    summary: dict[str, Any],
    *,
    header: dict[str, Any],
    max_reject_fraction: float,
    more_counts: Sequence[dict[str, int]] = (),
    run: str | None = None,
) -> dict[str, Any]:
    """Writes the manifest and `_SUCCESS` of a run whose accounts are all there.

    Args:
        output: the output folder.
        summary: of all accounts (see `summarise`).
        header: see `commit`.
        max_reject_fraction: see `commit`.
        more_counts: see `commit`.
        run: see `commit`.

    Raises:
        RunError: too many rows were rejected, or another run has taken over.
    """
    if run is not None and _begun(output) != run:
        raise RunError(f"{output} was taken over by another run, which began later; not committed")
    counts: Counter[str] = Counter()
    for more in more_counts:
        counts.update(more)
    manifest = summary | {name: summary.get(name, 0) + counts[name] for name in counts} | header
    manifest |= {"run": run} if run else {}
    allowed = max_reject_fraction * manifest["rows_in"]
    if manifest["rows_rejected"] > allowed:
        files.write_json(files.join(output, SHARDS_FOLDER, REFUSED), manifest)
        raise RunError(
            f"{manifest['rows_rejected']} of {manifest['rows_in']} rows were rejected "
            f"({_told(manifest['rejected_by_reason'])}), more than --max_reject_fraction "
            f"{max_reject_fraction} allows; not committed: see {output}/{REJECTS_FOLDER}/, mend "
            "the input or raise the fraction and run again"
        )
    _tidy(output, manifest)
    manifest = _create_manifest(output, manifest)
    files.create_bytes(files.join(output, SUCCESS), b"")
    return manifest


def _begun(output: str) -> str | None:
    path = files.join(output, SHARDS_FOLDER, PLAN)
    return _object(path).get("run") if files.exists(path) else None


def _create_manifest(output: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Creates it, or finds the one that this run created before.

    Raises:
        RunError: there is another run's.
    """
    try:
        files.create_bytes(files.join(output, MANIFEST), files.as_json(manifest))
        return manifest
    except FileExistsError:
        there = read_manifest(output)
        if "run" in manifest and there.get("run") == manifest["run"]:
            return there
        raise RunError(f"another run has committed {output} meanwhile; not committed") from None


def _tidy(output: str, manifest: dict[str, Any]) -> None:
    """Deletes what died attempts left: hidden files, and outputs no account speaks of."""
    written = {file["name"] for file in manifest_files(output, manifest)}
    lists = set(manifest.get("files_listed", ()))
    names = files.list_folder(output)
    stale = [
        name
        for name in names
        if name.startswith((f".{MANIFEST}.", f".{SUCCESS}.", f"{SHARDS_FOLDER}/."))
        or (_is_output(name) and name not in written)
        or (name.startswith(LISTS) and name not in lists)
        or name == f"{SHARDS_FOLDER}/{REFUSED}"
    ]
    _delete(output, stale)
    files.delete_folder(files.join(output, files.TEMPORARY_FOLDER))


def _is_output(name: str) -> bool:
    return name.endswith(".parquet") and "/" not in name.removeprefix(REJECTS_FOLDER + "/")


def summarise(accounts: Sequence[ShardAccount]) -> dict[str, Any]:
    """Sums the accounts of shards."""
    reasons: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for account in accounts:
        reasons.update(account.rejected_by_reason)
        counts.update(account.counts)
    return {
        "sentences": 0,
        "sentences_encoded": 0,
        "rows_in": sum(account.rows_in for account in accounts),
        "rows_scored": sum(account.rows_scored for account in accounts),
        "rows_rejected": sum(account.rows_rejected for account in accounts),
        "rejected_by_reason": dict(sorted(reasons.items())),
        **dict(sorted(counts.items())),
        "shards": len(accounts),
        "files": [asdict(file) for account in accounts for file in account.files],
    }


def _told(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
