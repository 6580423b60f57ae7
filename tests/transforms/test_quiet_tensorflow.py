from __future__ import annotations

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from transforms.quiet_tensorflow import LEFT_OUT, leaving_out


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


def test_tensorflow_comes_without_what_scoring_does_not_need():
    code = (
        "import sys\n"
        "from transforms.quiet_tensorflow import LEFT_OUT, import_tensorflow\n"
        "import_tensorflow()\n"
        "assert not LEFT_OUT & set(sys.modules), LEFT_OUT & set(sys.modules)\n"
        "import keras, pandas, scipy.special, tensorflow as tf\n"
        "layer = keras.layers.Dense(2)\n"
        "assert layer(tf.ones([1, 3])).shape == (1, 2) and scipy.special.expit(0.0) == 0.5\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-500:]
    assert {"pandas", "scipy"} <= LEFT_OUT
