"""Puts small faults into the code, one at a time, and counts those that the nearest tests notice.

python -m tests.mutants                        # 14 mutants a group, drawn with the seed 1
python -m tests.mutants input metrics --each 30 --seed 2

mutmut makes the mutants (a comparison turned, a constant moved, an argument or a result lost) and
runs the tests that came by the mutated function, in processes forked from one that has imported
everything: TensorFlow is loaded once a group. For each group `--each` of its mutants are drawn
without replacement, by `random.Random("SEED GROUP").sample` of their names in order; mutants of
lines that raise an error or print are left out before, as they are mostly words. What survives is
shown as a diff. docs/reliability.md has the last result, and lists survivors that change
nothing.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("transforms", "model", "pipelines")
NOTICED = ("killed", "timeout", "caught by type check", "segfault")
CONFIG = """
[tool.mutmut]
source_paths = {packages}
only_mutate = {modules}
do_not_mutate_patterns = ['^\\s*raise ', '^\\s*print\\(']
also_copy = {others}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-q", "-x"]
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"
track_dependencies = false
use_git_change_detection = false
timeout_multiplier = 20.0
timeout_constant = 20.0
"""


@dataclass(frozen=True)
class Group:
    """Modules, and the tests that lie nearest."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _in(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names)


GROUPS = {
    "storage": Group(
        _in("transforms/storage", "files", "local", "lock", "publishing", "exchange"),
        ("tests/transforms/storage",),
    ),
    "accounts": Group(
        _in("transforms/accounts", "blocks", "claims", "commit", "list_shards", "output_folder",
            "shard_account", "shard_writer"),
        (*_in("tests/transforms/accounts", "test_blocks", "test_list_shards", "test_output_folder",
              "test_shard_account", "test_staging", "test_late_writers"),
         "tests/transforms/scoring/test_score_shards.py"),
    ),
    "input": Group(
        _in("transforms/input", "footers", "input_files", "int96", "parquet_columns", "partitions",
            "read_shards", "shards"),
        ("tests/transforms/input", "tests/transforms/scoring/test_score_shards.py"),
    ),
    "engine": Group(
        _in("model/scoring", "batch_encoder", "engine", "length_batches", "short_vectors",
            "vector_cache"),
        ("tests/model/scoring",),
    ),
    "losses": Group(
        _in("model/network", "batch_losses", "losses", "triplets"),
        ("tests/model/network/test_batch_losses.py", "tests/model/network/test_losses.py"),
    ),
    "comparisons": Group(
        _in("model/network", "comparisons"), ("tests/model/network/test_comparisons.py",)
    ),
    "metrics": Group(
        _in("transforms/evaluation", "binary_metrics", "bootstrap", "class_metrics", "histograms",
            "metrics_json", "regression_metrics", "sentence_priors", "slices"),
        ("tests/transforms/evaluation",),
    ),
}  # fmt: skip


@dataclass
class Found:
    """What became of a group's mutants."""

    made: int
    drawn: int
    survivors: list[str]


class Copy:
    """A copy of the checkout with one group of modules to mutate."""

    def __init__(self, folder: Path, group: Group):
        self.folder, self.group = folder, group
        shutil.rmtree(folder, ignore_errors=True)
        listed = _run("git", "ls-files", "-co", "--exclude-standard", folder=ROOT).splitlines()
        for name in listed:
            if (ROOT / name).is_file():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        others = sorted({name.partition("/")[0] for name in listed} - {*PACKAGES, "tests"})
        config = CONFIG.format(
            packages=[*PACKAGES],
            modules=[*group.modules],
            others=[name for name in others if (folder / name).exists()],
            tests=[*group.tests],
        )
        with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(config)

    def mutmut(self, *words: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "mutmut", *words]
        return _run(*command, folder=self.folder, check=check)

    def statuses(self) -> dict[str, str]:
        """Each mutant by its name, and what became of it."""
        lines = self.mutmut("results", "--all", "true").splitlines()
        return dict(re.findall(r"^ {4}(\S+): (.+)$", "\n".join(lines), re.M))


class NotTried(Exception):
    """The tests of a group fail where mutmut has wrapped its functions."""


def _run(*words: str, folder: Path, check: bool = True) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if check and done.returncode:
        raise NotTried(f"{words[2]} {words[3]} failed: {(done.stdout + done.stderr).split()[-9:]}")
    return done.stdout


def draw(names: Sequence[str], group: str, each: int, seed: int) -> list[str]:
    """The mutants of a group that are tried: the same ones for the same seed."""
    ordered = sorted(names)
    return random.Random(f"{seed} {group}").sample(ordered, min(each, len(ordered)))


def try_group(copy: Copy, group: str, each: int, seed: int) -> Found:
    """Makes the mutants of a group, draws some and tries them."""
    copy.mutmut("run", "none.such", check=False)  # makes them and finds their tests; tries none
    names = list(copy.statuses())
    drawn = draw(names, group, each, seed)
    copy.mutmut("run", "--max-children", "1", *drawn)
    known = copy.statuses()
    return Found(len(names), len(drawn), [name for name in drawn if known[name] not in NOTICED])


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], default=[*GROUPS])
    parser.add_argument("--each", type=int, default=14, help="mutants of a group")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/mutants")
    args = parser.parse_args(argv)
    total = noticed = 0
    print("| group | mutants | drawn | noticed |\n| --- | --- | --- | --- |", flush=True)
    for name in args.groups:
        copy = Copy(args.folder / name, GROUPS[name])
        try:
            found = try_group(copy, name, args.each, args.seed)
        except NotTried as error:
            print(f"| {name} | none tried: {error} | | |", flush=True)
            continue
        alive = len(found.survivors)
        print(f"| {name} | {found.made:,} | {found.drawn} | {found.drawn - alive} |", flush=True)
        for survivor in found.survivors:
            print(copy.mutmut("show", survivor), flush=True)
        total, noticed = total + found.drawn, noticed + found.drawn - alive
    print(f"{noticed} of {total} noticed ({noticed / max(total, 1):.1%})")


if __name__ == "__main__":
    main()
