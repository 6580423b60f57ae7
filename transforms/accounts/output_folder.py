"""What an output folder holds, and what is left to do in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from transforms.accounts.shard_account import (
    MANIFEST,
    SHARDS_FOLDER,
    SUCCESS,
    ShardAccount,
    read_account,
    rejects_name,
)
from transforms.errors import UserError
from transforms.input.shards import RejectedFile, Shard
from transforms.storage import files

DRIFT_PAGE = "_drift.html"
CLUSTERS_PAGE = "_clusters.html"

PLAN = "plan.json"

LISTS = f"{SHARDS_FOLDER}/files-"

TODO = f"{SHARDS_FOLDER}/todo-"

PART_SHARDS = 1_000

LOCK = "_LOCK"

EARLIER_MANIFEST = "manifest.json"
EARLIER_REJECTS = "rejects"


def read_manifest(output: str) -> dict[str, Any]:
    """The manifest of a committed run.

    Raises:
        UserError: the folder has none, or it is no JSON object.
    """
    path = find_manifest(output)
    if path is None:
        raise UserError(f"{output} has no {MANIFEST}; it is no finished run of twinbeam")
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
    trouble = _earlier(names) or _difference(accounts, shards, key)
    if trouble and not overwrite:
        raise UserError(
            f"{output} holds scores of another run ({trouble}); "
            "choose another folder, or give --overwrite to score everything again"
        )
    if overwrite:
        delete_names(output, names)
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
        delete_names(output, sorted(names & {SUCCESS, MANIFEST}))
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


def delete_names(output: str, names: Sequence[str]) -> None:
    """Deletes files by their names below the output folder."""
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


def _earlier(names: Sequence[str]) -> str | None:
    found = {name.split("/")[0] for name in names} & {EARLIER_MANIFEST, EARLIER_REJECTS}
    return f"of an earlier version, with {min(found)} among the scores" if found else None


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
