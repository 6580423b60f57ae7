"""Commits a run: the manifest and `_SUCCESS`, once every shard has its account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from transforms.accounts.output_folder import (
    LISTS,
    PLAN,
    delete_names,
    manifest_files,
    read_manifest,
    read_object,
)
from transforms.accounts.shard_account import (
    MANIFEST,
    REJECTED,
    REJECTS_FOLDER,
    SHARDS_FOLDER,
    SUCCESS,
    ShardAccount,
    is_scores,
    summarise,
)
from transforms.errors import RunError
from transforms.storage import files

REFUSED = "refused.json"


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
            f"({_format_reasons(manifest['rejected_by_reason'])}), more than --max_reject_fraction "
            f"{max_reject_fraction} allows; not committed: see {output}/{REJECTS_FOLDER}/, mend "
            "the input or raise the fraction and run again"
        )
    _tidy(output, manifest)
    manifest = _create_manifest(output, manifest)
    files.create_bytes(files.join(output, SUCCESS), b"")
    return manifest


def _begun(output: str) -> str | None:
    path = files.join(output, SHARDS_FOLDER, PLAN)
    return read_object(path).get("run") if files.exists(path) else None


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
    delete_names(output, stale)
    files.delete_folder(files.join(output, files.TEMPORARY_FOLDER))


def _is_output(name: str) -> bool:
    rejects = name.startswith(REJECTS_FOLDER + "/") and name.endswith(REJECTED)
    return rejects or is_scores(name)


def _format_reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
