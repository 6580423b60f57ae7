"""Imports go one way: pipelines → model, transforms; model → transforms; transforms → neither."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"pipelines", "model", "transforms", "dags", "demo", "benchmarks", "tests"}
MAY_IMPORT = {
    "pipelines": {"pipelines", "model", "transforms"},
    "model": {"model", "transforms"},
    "transforms": {"transforms"},
    "dags": {"dags"},
}
# What a launcher or a worker loads before there is work: TensorFlow would cost seconds.
WITHOUT_TENSORFLOW = (
    "pipelines.options",
    "pipelines.preprocess",
    "pipelines.score",
    "pipelines.train",
    "pipelines.vertex",
    "transforms.errors",
    "transforms.files",
    "transforms.labels",
    "transforms.ledger",
    "transforms.pairs",
    "transforms.shards",
    "model.recipe",
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
