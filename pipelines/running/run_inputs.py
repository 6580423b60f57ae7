"""What a run reads: its files, planned as the options say, and the bundle that it is pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transforms.errors import UserError
from transforms.input.shards import Plan, plan
from transforms.pairs import check_reject_names

if TYPE_CHECKING:
    from pipelines.options.run_options import RunOptions
    from transforms.input.shards import RejectedFile
    from transforms.pairs import TextColumns


def check_pin(model: str, pinned: str | None, fingerprint: str) -> None:
    """Checks that a bundle is the one that --model_sha256 names, where it names one.

    Raises:
        UserError: it is another one.
    """
    if pinned not in (None, fingerprint):
        raise UserError(
            f"{model} has the fingerprint {fingerprint}, expected --model_sha256 {pinned}; it is "
            "another bundle than the one that was pinned"
        )


def plan_input(
    options: RunOptions,
    patterns: Sequence[str],
    columns: TextColumns,
    *,
    named_after_input: bool,
) -> Plan:
    """The files of a table, checked and cut into shards as the options say; see `plan`.

    Raises:
        UserError: names the file that cannot be used and why.
    """
    planned = plan(
        patterns,
        columns,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns,
        named_after_input=named_after_input,
    )
    check_reject_names(planned.schemas)
    return planned


def print_left_out(rejected: Sequence[RejectedFile]) -> None:
    """Prints which files are left out, and why."""
    for file in rejected:
        print(f"left out: {file.reason}", flush=True)


def print_rewritten(columns: Sequence[str]) -> None:
    """Prints which columns cannot be written with their type, before there is any work."""
    if columns:
        print(
            f"note: {', '.join(columns)}: written without their logical type, which Arrow "
            "lacks; the values are unchanged (docs/columns.md)",
            flush=True,
        )
