"""What a run reads: its files, planned as the options say, and the bundle that it is pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transforms.accounts.staging import workshop
from transforms.errors import UserError
from transforms.input.input_files import FoundFile, find
from transforms.input.shards import Plan, plan
from transforms.pairs import check_reject_names
from transforms.storage import files

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

    What the run itself writes into a folder that it reads is no input: the same command again finds
    the same files.

    Raises:
        UserError: names the file that cannot be used and why.
    """
    planned = plan(
        outside(find(patterns), options.output),
        columns,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns,
        named_after_input=named_after_input,
    )
    check_reject_names(planned.schemas)
    return planned


def outside(found: Sequence[FoundFile], output: str) -> list[FoundFile]:
    """The files without those of an output that lies in a folder, or a pattern's, that is read.

    A file that was named itself, or found in a folder within the output, stays: that is a mistake,
    which others report.
    """
    own = [output, workshop(output)] if output else []
    starts = {file.path: file.path.removesuffix(file.below) for file in found}
    around = {
        start
        for start in set(starts.values())
        if any(files.is_inside(folder, start) and not files.is_inside(start, folder)
               for folder in own)
    }  # fmt: skip
    return [
        file
        for file in found
        if starts[file.path] not in around
        or not any(files.is_inside(file.path, folder) for folder in own)
    ]


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
