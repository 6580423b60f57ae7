"""Shows where a search for pairs is: a moving clock on a terminal, a line now and then in a log.

It looks at what the steps leave in the output folder, so it works the same on every runner.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console

from transforms.accounts import output_folder, shard_account
from transforms.storage import files
from transforms.vector_blocks import units
from transforms.vector_blocks.vector_block import BLOCK, BLOCKS_FOLDER, RAW

EVERY_SECONDS = {"terminal": 0.5, "log": 30.0}


@dataclass(frozen=True)
class SearchFolder:
    """The output folder of a search, and what will be in it.

    Attributes:
        output: the folder.
        blocks: how many blocks both sides have.
        todo: names of the units of this run.
        cells: whether blocks by hash become blocks by cells.
    """

    output: str
    blocks: int
    todo: frozenset[str]
    cells: bool

    @classmethod
    def for_work(
        cls, work: output_folder.Work, output: str, blocks: units.TableBlocks, cells: bool
    ) -> SearchFolder:
        """The folder of a run that begins."""
        todo = frozenset(shard.name for shard in work.todo if shard.source == units.SOURCE)
        return cls(output, len(blocks.all()), todo, cells)

    def phase(self) -> str:
        """What is being done, and how far it is."""
        shards = files.join(self.output, shard_account.SHARDS_FOLDER)
        done = {name.removesuffix(".json") for name in files.list_folder(shards)} & self.todo
        if done:
            return f"comparing: {len(done):,} of {len(self.todo):,} units"
        made = files.list_folder(files.join(self.output, *BLOCKS_FOLDER.split("/")))
        found = {
            kind: sum(f"-{kind}-" in name and name.endswith(".json") for name in made)
            for kind in (RAW, BLOCK)
        }
        first = RAW if self.cells else BLOCK
        if found[BLOCK] == self.blocks:
            return "measuring and comparing: no unit done yet"
        if self.cells and found[RAW] == self.blocks:
            return f"making cells: {found[BLOCK]:,} of {self.blocks:,} blocks"
        if found[first]:
            return f"encoding: {found[first]:,} of {self.blocks:,} blocks"
        return "reading rows, loading TensorFlow and the bundle"


@contextmanager
def show_search(folder: SearchFolder) -> Iterator[None]:
    """Shows the phase and how long the run takes, until the block ends."""
    ended, console = threading.Event(), Console(stderr=True, soft_wrap=True, highlight=False)
    show = _show_live if sys.stderr.isatty() else _show_lines
    thread = threading.Thread(target=show, args=(folder, ended, console), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(EVERY_SECONDS["terminal"] * 4)


def _lines(folder: SearchFolder, ended: threading.Event, every: float) -> Iterator[str]:
    started, phase = time.monotonic(), ""
    while not ended.wait(every):
        with suppress(OSError):  # who shows progress does not judge: the run itself does
            phase = folder.phase()
        yield f"{phase}, {time.monotonic() - started:.0f} s"


def _show_lines(folder: SearchFolder, ended: threading.Event, console: Console) -> None:
    for line in _lines(folder, ended, EVERY_SECONDS["log"]):
        console.print(line)


def _show_live(folder: SearchFolder, ended: threading.Event, console: Console) -> None:
    with console.status("reading rows") as status:
        for line in _lines(folder, ended, EVERY_SECONDS["terminal"]):
            status.update(line)
