"""The account of a finished shard: what was read, written and rejected.

A finished shard leaves its account in `_shards/`; that file is the shard's own commit, so a run
that died resumes from the accounts it finds. `_manifest.json` and `_SUCCESS` come last. All that is
not scores begins with `_`, and no rejects end in `.parquet`: whatever reads the folder as a data
set, or the pattern `**/*.parquet`, reads the scores alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from transforms.accounts.claims import SHARDS_FOLDER, Claim
from transforms.errors import RunError, UserError
from transforms.storage import files

if TYPE_CHECKING:
    from transforms.input.shards import Shard

MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"
REJECTS_FOLDER = "_rejects"
REJECTED = ".rejected"


@dataclass(frozen=True)
class WrittenFile:
    """A file that a shard left: its name below the output folder, its rows and its sum."""

    name: str
    rows: int
    sha256: str
    source: str


@dataclass(frozen=True)
class ShardAccount:
    """The result of one shard.

    Attributes:
        shard: the shard as planned.
        run_key: fingerprint of all that decides the output's bytes, but the input.
        rows_in: rows read.
        rows_scored: rows written with a similarity.
        rows_rejected: rows written to `_rejects/`.
        rejected_by_reason: rows rejected, by `reject_reason`.
        counts: further counts, such as sentences and sentences encoded.
        files: what was written.
        started: when work on the shard began, seconds since 1970.
        finished: when it ended.
        profile: what drift is computed from (see `transforms.drift`).
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


def is_scores(name: str) -> bool:
    """Whether a name below an output folder is that of scores; partitions have folders."""
    *folders, file = name.split("/")
    return file.endswith(".parquet") and all("=" in folder for folder in folders)


def rejects_name(shard_name: str) -> str:
    """Where the rejected rows of a shard are, below the output folder; the file is Parquet."""
    return f"{REJECTS_FOLDER}/{shard_name}{REJECTED}"


def run_key(**identity: Any) -> str:
    """A fingerprint of all that decides the bytes of a shard's output, but its input."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def write_account(claim: Claim, account: ShardAccount) -> None:
    """Commits a shard: from here on it is not done again.

    Raises:
        RunError: the account does not add up, or the folder is no longer this run's.
    """
    name = account_name(account.shard["name"])
    claim.write(name, files.as_json(asdict(account.check())))


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
    """The account that an earlier attempt left, if its files exist too.

    A runner that lost a worker may hand out finished shards again, or restart the job.
    """
    if not files.exists(_account_path(output, shard.name)):
        return None
    account = read_account(output, shard.name)
    # The shard as planned carries the input's fingerprint: the account of an earlier content of the
    # file, or of other options, does not count.
    same = account.run_key == key and account.shard == shard.to_json()
    present = (files.exists(files.join(output, *file.name.split("/"))) for file in account.files)
    return account if same and all(present) else None


def account_name(shard_name: str) -> str:
    """Where a shard's account is, below the output folder."""
    return f"{SHARDS_FOLDER}/{shard_name}.json"


def _account_path(output: str, shard_name: str) -> str:
    return files.join(output, *account_name(shard_name).split("/"))


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
