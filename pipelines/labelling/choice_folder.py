"""The folder of a choice: whether it exists, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transforms.accounts.shard_account import SUCCESS
from transforms.errors import UserError
from transforms.storage import files

if TYPE_CHECKING:
    from pipelines.options.label_options import LabelOptions


CHOICE = "choice.json"
PAIRS = "pairs.parquet"
PAGE = "label.html"
OURS = {CHOICE, PAIRS, PAGE, SUCCESS}


def choice_is_there(options: LabelOptions, key: str) -> bool:
    """Whether the same choice is in the output folder.

    Raises:
        UserError: the folder holds something else.
    """
    names = files.list_folder(options.output)
    foreign = sorted(name for name in names if name not in OURS)
    if foreign:
        raise UserError(
            f"{options.output} holds {foreign[0]!r}, which label did not write; give another"
        )
    done = SUCCESS in names and files.read_json(files.join(options.output, CHOICE))["key"] == key
    if names and not done and not options.overwrite:
        raise UserError(
            f"{options.output} holds another choice, whose answers may not be saved yet; "
            "give another folder, or --overwrite"
        )
    return done


def print_choice(output: str) -> dict[str, Any]:
    """Prints what was chosen and where the page is; returns the content of choice.json."""
    found: dict[str, Any] = files.read_json(files.join(output, CHOICE))
    rows = sum(found["rows_by_predicted"].values())
    skipped = ", ".join(f"{n:,} {why}" for why, n in found["rows_skipped"].items())
    print(f"{rows:,} pairs could be chosen{f' (left out: {skipped})' if skipped else ''}")
    uncertain = found["pairs"] - found["random_pairs"]
    print(f"{found['pairs']:,} chosen: {found['random_pairs']:,} at random, {uncertain:,} in doubt")
    print(f"page to label on: {output}/{PAGE}   pairs: {output}/{PAIRS}")
    return found
