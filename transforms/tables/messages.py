"""Messages about bad and suspect lines: the most common reason, the first place, and the fix."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.errors import RunError, UserError
from transforms.tables import delimited, records
from transforms.tables.accounts import Account, Doubts
from transforms.tables.options import likely_delimiter
from transforms.tables.pair_file import Rejects
from transforms.tables.reading import encoding_hint
from transforms.tables.rows import NOT_UTF8

_QUOTES = "if quotes are plain text in this file, give --no_quotes"
_ESCAPE = "if it is Spark's CSV, give --escape '\\'"
_HINTS = {
    records.UNCLOSED: _QUOTES,
    records.AFTER_QUOTE: _QUOTES,
    records.SEVERAL_LINES: _QUOTES,
    delimited.SWALLOWED: _QUOTES,
    delimited.BREAKS_AND_DELIMITERS: _QUOTES,
    records.BACKSLASH: _ESCAPE,
    delimited.BACKSLASH_QUOTES: _ESCAPE,
    delimited.ENCLOSED: "if quotes enclose values in this file, give --quotes",
}
_HARMLESS = {delimited.ENCLOSED}  # a quotation may be a sentence


def why_not(
    accounts: Sequence[Account], rejects: Rejects, most_bad: float, most_suspect: float
) -> UserError | RunError | None:
    """Why what was read must not be kept; None where it may.

    Args:
        accounts: of all files, once they are read.
        rejects: their bad lines.
        most_bad: the largest share of lines that may be bad.
        most_suspect: the largest share of lines that may be in rows that look wrong.
    """
    rows = sum(account.rows for account in accounts)
    bad = rejects.lines
    if not rows and not bad:
        source = accounts[0].source
        return UserError(f"{source} has {_what_there_is(accounts[0])} and no rows")
    if not rows or bad > most_bad * (rows + bad):
        return _too_many_bad(accounts, rejects, rows + bad)
    for reason, doubts in _harmful(accounts).items():
        if doubts.lines > most_suspect * (rows + bad):
            return RunError(
                f"{doubts.lines:,} of {rows + bad:,} lines are in {reason}, the first at "
                f"{doubts.first}; {_HINTS[reason]}, or raise --max_suspect_fraction"
            )
    return None


def suspect_lines(accounts: Sequence[Account]) -> int:
    """Lines in rows that look wrong for the most common reason: what `most_suspect` limits."""
    return max((doubts.lines for doubts in _harmful(accounts).values()), default=0)


def _harmful(accounts: Sequence[Account]) -> dict[str, Doubts]:
    return {
        reason: doubts for reason, doubts in sum_doubts(accounts).items() if reason not in _HARMLESS
    }


def _what_there_is(account: Account) -> str:
    return "a header" if account.header else "no text"


def _too_many_bad(
    accounts: Sequence[Account], rejects: Rejects, lines: int
) -> UserError | RunError:
    reason, doubts = rejects.most_common()
    message = (
        f"{rejects.lines:,} of {lines:,} lines are bad, most of them for this: {reason} "
        f"({doubts.lines:,}, the first at {doubts.first})"
    )
    if reason == NOT_UTF8:
        sample = b"".join(account.undecoded for account in accounts)
        return UserError(message + encoding_hint(sample))
    hint = _HINTS.get(reason) or _delimiter_hint(accounts, doubts) or "fix the flags"
    return RunError(f"{message}; {hint}, or raise --max_reject_fraction; all are in {rejects.path}")


def _delimiter_hint(accounts: Sequence[Account], doubts: Doubts) -> str | None:
    start = next((each.start for each in accounts if doubts.first.startswith(each.source)), "")
    delimiter = likely_delimiter(start.splitlines()[:-1][:50], "")
    return (
        f"its lines look separated by {delimiter!r}: give --delimiter {delimiter!r}"
        if delimiter
        else None
    )


def sum_doubts(accounts: Sequence[Account]) -> dict[str, Doubts]:
    """Rows that look wrong, by reason, over all files."""
    found: dict[str, Doubts] = {}
    for account in accounts:
        for reason, doubts in account.doubts.items():
            total = found.setdefault(reason, Doubts(first=doubts.first))
            total.lines += doubts.lines
            total.rows += doubts.rows
    return found


def format_bad(rejects: Rejects) -> str:
    """How many lines are bad, why most of them, and where they are kept."""
    if not rejects.lines:
        return ""
    reason, doubts = rejects.most_common()
    hint = f"; {_HINTS[reason]}" if reason in _HINTS else ""
    return (
        f"; bad lines: {rejects.lines:,}, kept in {rejects.path}; most of them for this: {reason} "
        f"({doubts.lines:,}, the first at {doubts.first}){hint}"
    )


def format_doubts(accounts: Sequence[Account]) -> list[str]:
    """A line for each way in which rows look wrong."""
    return [
        f"look at {doubts.rows:,} {reason}, the first at {doubts.first}; {_HINTS[reason]}"
        for reason, doubts in sum_doubts(accounts).items()
    ]
