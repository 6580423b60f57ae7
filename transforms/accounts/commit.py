"""Commits a run: the manifest and `_SUCCESS`, once every shard has its account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from transforms.accounts import blocks
from transforms.accounts.blocks import AccountBlock
from transforms.accounts.claims import SHARDS_FOLDER, Claim
from transforms.accounts.gates import Gates
from transforms.accounts.output_folder import LISTS, manifest_files, read_manifest
from transforms.accounts.shard_account import (
    MANIFEST,
    REJECTED,
    REJECTS_FOLDER,
    SUCCESS,
    ShardAccount,
    is_scores,
    summarise,
)
from transforms.errors import RunError
from transforms.storage import files

REFUSED = "refused.json"


def commit(
    claim: Claim,
    accounts: Iterable[ShardAccount],
    *,
    expected: Sequence[str],
    header: dict[str, Any],
    gates: Gates,
    more_counts: Sequence[dict[str, int]] = (),
) -> dict[str, Any]:
    """Writes the manifest and `_SUCCESS`, once every shard is there and the accounts add up.

    Both are created only if they do not exist, so two runs cannot both commit; the same run may do
    it again, since runners repeat steps.

    Args:
        claim: the run's claim to the output folder.
        accounts: of all shards, finished now or earlier.
        expected: names of all shards in the plan.
        header: what the manifest says besides the accounts (bundle, options, versions, seconds).
        gates: beyond them the run fails with its accounts written but not committed.
        more_counts: counts that belong to no shard alone, added to the shards' own.

    Returns:
        The manifest.

    Raises:
        RunError: a shard is missing, too many rows were rejected, or another run has taken over.
    """
    by_name = {account.shard["name"]: account.check() for account in accounts}
    check_complete(expected, by_name)
    return publish(
        claim,
        summarise([by_name[name] for name in sorted(expected)]),
        header=header,
        gates=gates,
        more_counts=more_counts,
    )


def merge_complete(
    parts: Iterable[AccountBlock], names: Collection[str], shards: int
) -> AccountBlock:
    """The accounts of a plan as one, once each shard is seen to have one.

    Args:
        parts: blocks of accounts, of earlier runs and of this one.
        names: of all shards of the plan; none where they are too many to send along.
        shards: how many there are.

    Raises:
        RunError: a shard is missing.
    """
    complete = blocks.merge(parts)
    if names and complete.names:
        check_complete(names, complete.names)
    else:
        check_complete((), (), shards - complete.shards)
    return complete


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


def judge_again(output: str, gates: Gates) -> dict[str, Any]:
    """Meets a complete folder again: the limits may be stricter than when it was committed.

    Returns:
        Its manifest.

    Raises:
        RunError: it exceeds them.
    """
    manifest = read_manifest(output)
    gates.judge(manifest, output)
    return manifest


def publish(
    claim: Claim,
    summary: dict[str, Any],
    *,
    header: dict[str, Any],
    gates: Gates,
    more_counts: Sequence[dict[str, int]] = (),
    pages: Mapping[str, bytes] = MappingProxyType({}),
) -> dict[str, Any]:
    """Writes the manifest and `_SUCCESS` of a run whose accounts are all there.

    Args:
        claim: the run's claim to the output folder.
        summary: of all accounts (see `summarise`).
        header: see `commit`.
        gates: see `commit`.
        more_counts: see `commit`.
        pages: small files to lie beside the scores, by name.

    Raises:
        RunError: too many rows were rejected, or another run has taken over.
    """
    output = claim.folder
    claim.check(closed=True)
    counts: Counter[str] = Counter()
    for more in more_counts:
        counts.update(more)
    manifest = summary | {name: summary.get(name, 0) + counts[name] for name in counts} | header
    manifest |= {"run": claim.run} if claim.run else {}
    try:
        gates.judge(manifest, output)
    except RunError:
        claim.write(f"{SHARDS_FOLDER}/{REFUSED}", files.as_json(manifest))
        for name, page in pages.items():
            claim.write(name, page)
        raise
    # Closed before it is tidied: from here on no attempt of this run can add a file either, so what
    # `_tidy` sees is all there will be. The manifest comes before _SUCCESS, which readers wait for.
    claim.close()
    _tidy(claim, manifest)
    marks = {MANIFEST: files.as_json(manifest), SUCCESS: b""}
    try:
        claim.publish({**pages, **marks}, new=frozenset(marks))
        return manifest
    except FileExistsError:
        return _committed_before(claim)


def _committed_before(claim: Claim) -> dict[str, Any]:
    """The manifest that an attempt of this run has written before.

    Raises:
        RunError: it is another run's.
    """
    committed = read_manifest(claim.folder)
    if claim.run is None or committed.get("run") != claim.run:
        raise RunError(f"another run has committed {claim.folder} meanwhile; not committed")
    # That attempt may have died between the two files: the same content is written once more.
    claim.publish({SUCCESS: b""}, new=frozenset([SUCCESS]))
    return committed


def _tidy(claim: Claim, manifest: dict[str, Any]) -> None:
    """Deletes what died attempts left: hidden files, and outputs no account speaks of."""
    # Versions are taken before `claim.delete` reads the claim: if another run takes the folder in
    # between, what it writes is another version, and is kept.
    output, seen = claim.folder, files.versions(claim.folder)
    written = {file["name"] for file in manifest_files(output, manifest)}
    lists = set(manifest.get("files_listed", ()))
    stale = {
        name: version
        for name, version in seen.items()
        if name.startswith((f".{MANIFEST}.", f".{SUCCESS}.", f"{SHARDS_FOLDER}/."))
        or (_is_output(name) and name not in written)
        or (name.startswith(LISTS) and name not in lists)
        or name == f"{SHARDS_FOLDER}/{REFUSED}"
    }
    claim.delete(stale)


def _is_output(name: str) -> bool:
    rejects = name.startswith(REJECTS_FOLDER + "/") and name.endswith(REJECTED)
    return rejects or is_scores(name)
