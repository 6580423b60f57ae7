from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from transforms.lean_imports import leaving_out, uncollected


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that can be imported, with a module inside; its name."""
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "__init__.py").touch()
    (tmp_path / "made_up" / "inside.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "made_up"
    for name in [name for name in sys.modules if name.partition(".")[0] == "made_up"]:
        del sys.modules[name]


def test_a_package_left_out_is_as_if_not_installed_and_comes_back(package):
    with leaving_out(frozenset({package})):
        with pytest.raises(ImportError, match="made_up is left out"):
            importlib.import_module(package)
        importlib.import_module("json.tool")  # others come in
    importlib.import_module(package)


def test_what_is_there_already_stays_complete(package):
    importlib.import_module(package)
    with leaving_out(frozenset({package})):
        importlib.import_module("made_up.inside")


def test_other_threads_import_it_as_ever(package):
    with leaving_out(frozenset({package})), ThreadPoolExecutor(1) as other:
        assert other.submit(importlib.import_module, package).result().__name__ == package


def test_a_module_left_out_leaves_its_package(package):
    with leaving_out(frozenset({"made_up.inside"})):
        importlib.import_module(package)
        with pytest.raises(ImportError, match="made_up.inside is left out"):
            importlib.import_module("made_up.inside")
    importlib.import_module("made_up.inside")


def test_garbage_is_collected_again_after_the_outermost_block_and_what_came_is_old():
    assert gc.isenabled()
    with uncollected():
        with uncollected():
            made = [[number] for number in range(100)]
        assert not gc.isenabled()
    assert gc.isenabled() and not gc.get_freeze_count()
    assert not any(made is one for one in gc.get_objects(generation=0))
    assert any(made is one for one in gc.get_objects(generation=2))


def test_an_error_leaves_the_collector_on():
    with pytest.raises(ValueError), uncollected():
        raise ValueError
    assert gc.isenabled()


def test_who_had_it_off_finds_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_beam_comes_without_its_connectors_runs_and_lets_others_import_them():
    code = (
        "import sys\n"
        "from transforms.lean_imports import BEAM_WITHOUT, import_beam\n"
        "import_beam()\n"
        "assert not BEAM_WITHOUT & set(sys.modules), BEAM_WITHOUT & set(sys.modules)\n"
        "import apache_beam as beam\n"
        "from apache_beam.testing.util import assert_that, equal_to\n"
        "with beam.Pipeline('FnApiRunner') as pipeline:\n"
        "    doubled = pipeline | beam.Create([1, 2]) | beam.Map(lambda n: 2 * n)\n"
        "    assert_that(doubled, equal_to([2, 4]))\n"
        "import google.cloud.storage, pandas\n"
        "from apache_beam.io.gcp import gcsfilesystem\n"
        "from apache_beam.runners.dataflow import dataflow_runner\n"
        "assert dataflow_runner.dataflow_api and gcsfilesystem.GCSFileSystem\n"
        "assert pandas.DataFrame({'a': [1]}).a[0] == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-500:]
