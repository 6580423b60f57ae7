"""Imports go one way: pipelines → model, transforms; model → transforms; transforms → neither."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"twinbeam", "pipelines", "model", "transforms", "dags", "demo", "benchmarks", "tests"}
MAY_IMPORT = {
    "twinbeam": {"twinbeam", "pipelines", "model", "transforms"},
    "pipelines": {"pipelines", "model", "transforms"},
    "model": {"model", "transforms"},
    "transforms": {"transforms"},
    "dags": {"dags"},
}
# The second table: which folder may import which, beside the modules that stand at the top of
# `transforms` and `model`. It is written from the bottom up, so there can be no circle.
FOLDERS = {
    "transforms": set(),
    "transforms.storage": {"transforms"},
    "transforms.input": {"transforms", "transforms.storage"},
    "transforms.text": {"transforms", "transforms.storage"},
    "transforms.tables": {"transforms", "transforms.storage"},
    "transforms.accounts": {"transforms", "transforms.storage", "transforms.input"},
    "transforms.labelling": {
        "transforms", "transforms.storage", "transforms.input", "transforms.tables",
    },
    "transforms.evaluation": {"transforms", "transforms.input"},
    "transforms.examples": {
        "transforms", "transforms.storage", "transforms.input", "transforms.text",
        "transforms.accounts",
    },
    "transforms.scoring": {
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
    },
    "transforms.vectors": {"transforms"},
    "transforms.vector_blocks": {
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
        "transforms.scoring", "transforms.vectors",
    },
    "transforms.finding": {
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
        "transforms.scoring", "transforms.vectors", "transforms.labelling",
        "transforms.vector_blocks",
    },
    "transforms.clustering": {
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
    },
    "model": {"transforms", "transforms.evaluation"},
    "model.recipe": {"model", "transforms"},
    "model.kernels": set(),
    "model.network": {
        "model", "model.recipe", "transforms", "transforms.storage", "transforms.text",
    },
    "model.dataset": {
        "model", "model.recipe", "transforms", "transforms.storage", "transforms.text",
        "transforms.scoring",
    },
    "model.bundle": {
        "model", "model.recipe", "model.kernels", "model.network", "transforms",
        "transforms.storage", "transforms.accounts", "transforms.text",
    },
    "model.initial": {
        "model.recipe", "model.network", "model.dataset", "model.bundle", "transforms",
        "transforms.storage", "transforms.text",
    },
    "model.training": {
        "model", "model.recipe", "model.network", "model.dataset", "model.bundle", "model.initial",
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
    },
    "model.scoring": {
        "model.recipe", "model.kernels", "model.bundle", "transforms", "transforms.storage",
        "transforms.scoring", "transforms.text",
    },
    "pipelines.dataflow": {"transforms", "transforms.storage", "transforms.input"},
    "pipelines.report": {"transforms", "transforms.storage", "transforms.evaluation"},
    "pipelines.options": {
        "pipelines.dataflow", "model", "model.recipe", "model.scoring", "model.training",
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
        "transforms.evaluation", "transforms.examples", "transforms.finding", "transforms.vectors",
        "transforms.scoring", "transforms.labelling", "transforms.vector_blocks",
    },
    "pipelines.running": {
        "pipelines.dataflow", "pipelines.options", "transforms", "transforms.storage",
        "transforms.accounts", "transforms.input", "transforms.examples",
    },
    "pipelines.scoring": {
        "pipelines.dataflow", "pipelines.report", "pipelines.options", "pipelines.running",
        "model.scoring", "transforms", "transforms.storage", "transforms.input",
        "transforms.accounts", "transforms.scoring",
    },
    "pipelines.finding": {
        "pipelines.dataflow", "pipelines.options", "pipelines.running", "model.scoring",
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
        "transforms.scoring", "transforms.labelling", "transforms.vectors",
        "transforms.vector_blocks", "transforms.finding",
    },
    "pipelines.clustering": {
        "pipelines.dataflow", "pipelines.report", "pipelines.options", "pipelines.running",
        "transforms", "transforms.storage", "transforms.input", "transforms.accounts",
        "transforms.clustering", "transforms.vector_blocks",
    },
    "pipelines.examples": {
        "pipelines.dataflow", "pipelines.options", "pipelines.running", "model.recipe",
        "model.bundle", "model.scoring", "transforms", "transforms.storage", "transforms.input",
        "transforms.accounts", "transforms.examples", "transforms.text",
    },
    "pipelines.labelling": {
        "pipelines.dataflow", "pipelines.report", "pipelines.options", "pipelines.running",
        "model.recipe", "transforms", "transforms.storage", "transforms.input",
        "transforms.accounts", "transforms.labelling",
    },
    "pipelines.training": {
        "pipelines.examples", "model.recipe", "model.dataset", "model.bundle", "model.training",
        "transforms", "transforms.storage", "transforms.accounts",
    },
    "pipelines.bundles": {
        "pipelines.options", "model", "model.recipe", "model.dataset", "model.bundle",
        "model.kernels", "model.training", "transforms", "transforms.storage", "transforms.input",
        "transforms.accounts", "transforms.evaluation",
    },
    "pipelines.trying": {
        "pipelines.options", "pipelines.running", "model.bundle", "transforms",
        "transforms.storage", "transforms.input", "transforms.scoring", "transforms.text",
    },
    "twinbeam": {"pipelines", "pipelines.running", "model.scoring", "transforms"},
}  # fmt: skip
MOST_FILES = 15  # in one folder; the commands in pipelines/ apart
MOST_LINES, MOST_PARAMETERS = 60, 7  # of a function
MEDIAN_LINES, P90_LINES = 7, 20  # of all functions, their docstrings apart
# Modules in the longest chain of imports at module level, inside of a package. What only an
# annotation needs (TYPE_CHECKING) is none: nothing is loaded for it.
MOST_DEPTH = {"transforms": 9, "model": 9, "pipelines": 5}
# What a launcher or a worker loads before there is work: TensorFlow would cost seconds.
WITHOUT_TENSORFLOW = (
    "pipelines.options.command_line",
    "pipelines.cluster",
    "pipelines.find",
    "pipelines.preprocess",
    "pipelines.score",
    "pipelines.train",
    "pipelines.vertex",
    "transforms.errors",
    "transforms.storage.files",
    "transforms.labels",
    "transforms.accounts.shard_account",
    "transforms.pairs",
    "transforms.input.shards",
    "model.recipe.recipe",
)


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if (top := name.partition(".")[0]) in OURS and top not in MAY_IMPORT[package]
    ]

    assert not wrong


def folder_of(module: str) -> str:
    """The folder that a module lies in, as a dotted name: `model.recipe.parts` → `model.recipe`."""
    path = ROOT.joinpath(*module.split("."))
    return module if path.is_dir() else module.rpartition(".")[0]


def modules_imported(path: Path) -> Iterator[str]:
    """Our own modules that a file imports; a name inside a module counts as the module."""
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        while name and not (
            ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file()
            or ROOT.joinpath(*name.split("."), "__init__.py").is_file()
        ):
            name = name.rpartition(".")[0]
        if name:
            yield name


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_what_its_line_allows(folder: str):
    place = ROOT.joinpath(*folder.split("."))
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted(place.glob("*.py"))
        for name in modules_imported(path)
        if folder_of(name) not in FOLDERS[folder] | {folder}
    ]

    assert not wrong


def test_each_folder_has_its_line_and_the_lines_hold_no_circle():
    packages = ("transforms", "model", "pipelines", "twinbeam")
    present = {".".join(path.parent.relative_to(ROOT).parts) for path in sources(*packages)}
    seen: set[str] = set()
    for folder, allowed in FOLDERS.items():  # each line names only lines above it
        assert allowed - {"pipelines"} <= seen, f"{folder} is above {allowed - seen}"
        seen.add(folder)

    assert present - {"pipelines"} == seen


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_can_be_seen_at_a_glance(folder: str):
    assert len(list(ROOT.joinpath(*folder.split(".")).glob("*.py"))) <= MOST_FILES + 1


def test_what_lies_beside_the_folders_of_pipelines_is_a_command():
    from twinbeam.commands import COMMANDS

    files = {f"pipelines.{path.stem}" for path in (ROOT / "pipelines").glob("*.py")}

    assert files - {"pipelines.__init__"} == {command.module for command in COMMANDS.values()}


def test_commands_do_not_import_commands():
    """What two of them need is in a folder that both import."""
    commands = {path.stem for path in (ROOT / "pipelines").glob("*.py")} - {"__init__"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("pipelines")
        for name in modules_imported(path)
        if folder_of(name) == "pipelines" and name.rpartition(".")[2] in commands
    ]

    assert not wrong


# Methods whose meaning a framework fixes: a docstring would only say so again.
FRAMEWORK_METHODS = {"expand", "get_config"}


def test_public_methods_say_what_they_do():
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}.{method.name}"
        for path in sources("transforms", "model", "pipelines")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for method in node.body
        if isinstance(method, ast.FunctionDef)
        and not method.name.startswith("_")
        and method.name not in FRAMEWORK_METHODS
        and not ast.get_docstring(method)
    ]

    assert not silent


def test_a_wrong_import_would_be_seen():
    tree = ast.parse("def f():\n    from pipelines.score import run\n    import tests.x as y\n")

    assert list(imported(tree)) == ["pipelines.score.run", "tests.x"]


def test_nobody_uses_the_keras_inside_tensorflow():
    names = {"tf.keras", "tensorflow.keras", "tf_keras"}
    wrong = []
    for path in sources(*(folder for folder in OURS if (ROOT / folder).is_dir())):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {".".join(name.split(".")[:2]) for name in imported(tree)}
        used |= {name.split(".")[0] for name in used}
        wrong += [f"{path.relative_to(ROOT)} uses {name}" for name in used & names]

    assert not wrong


def test_launchers_load_no_tensorflow():
    code = (
        "import importlib, sys\n"
        f"for name in {WITHOUT_TENSORFLOW!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'tensorflow', 'keras', 'tensorflow_transform'} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200
    )

    assert done.returncode == 0, done.stderr[-500:]


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sources("twinbeam", "pipelines", "model", "transforms"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef, *, docstring: bool) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if docstring or ast.get_docstring(node) is None:
        return lines
    return lines - (node.body[0].end_lineno or 0) + node.body[0].lineno - 1


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_functions_are_short_and_take_few_parameters():
    found = list(functions())
    long = [name for name, node in found if lines_of(node, docstring=True) > MOST_LINES]
    many = [name for name, node in found if parameters_of(node) > MOST_PARAMETERS]
    assert not long and not many
    lines = sorted(lines_of(node, docstring=False) for _, node in found)
    assert len(lines) > 1_500
    assert lines[len(lines) // 2] <= MEDIAN_LINES and lines[len(lines) * 9 // 10] <= P90_LINES


def at_module_level(body: Sequence[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test)
        ):
            yield from at_module_level(node.body)


def depths(package: str) -> dict[str, int]:
    """Each module of a package, and how many modules the longest chain below it has with it."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources(package)
    }
    found: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in found:
            found[name] = 0  # a circle would end here; another test finds it
            tree = ast.parse(modules[name].read_text(encoding="utf-8"))
            used: set[str] = set()
            for node in at_module_level(tree.body):
                base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for one in node.names:
                    full = base + one.name
                    used.add(full if full in modules else base.removesuffix("."))
            used &= modules.keys()
            found[name] = 1 + max((depth(other) for other in used - {name}), default=0)
        return found[name]

    return {name: depth(name) for name in modules}


@pytest.mark.parametrize("package", MOST_DEPTH)
def test_chains_of_imports_are_no_longer_than_they_were(package: str):
    found = depths(package)
    deepest = max(found, key=lambda name: found[name])
    assert found[deepest] <= MOST_DEPTH[package], deepest
