"""What a Beam worker gets: the sdist of setup.py, installed away from the project's root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"pipelines", "transforms", "model", "twinbeam"}
# Modules that import nothing but the standard library, and each other.
NEED_NOTHING = ("pipelines", "transforms", "model", "transforms.errors", "twinbeam", "twinbeam.cli")


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    # As Beam does it: with the setuptools that is there, without an isolated environment.
    run(sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "sdist",
        "--dist-dir", folder, cwd=ROOT)  # fmt: skip
    return next(folder.glob("twinbeam-*.tar.gz"))


@pytest.fixture(scope="module")
def installed(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
        "--disable-pip-version-check", "--target", folder, sdist, cwd=folder)  # fmt: skip
    return folder


def contents(folder: Path) -> set[Path]:
    paths = (path for package in PACKAGES for path in (folder / package).rglob("*"))
    inside = (path.relative_to(folder) for path in paths if path.is_file())
    return {path for path in inside if "__pycache__" not in path.parts}


def modules(folder: Path) -> set[str]:
    sources = (path for path in contents(folder) if path.suffix == ".py")
    names = (".".join(path.with_suffix("").parts) for path in sources)
    return {name.removesuffix(".__init__") for name in names}


def test_the_sdist_holds_the_packages_and_nothing_else(sdist: Path):
    with tarfile.open(sdist) as archive:
        names = {Path(*Path(name).parts[1:]) for name in archive.getnames() if "/" in name}
    folders = {path.parts[0] for path in names if len(path.parts) > 1}

    assert folders - {"twinbeam.egg-info"} == PACKAGES


def test_the_installed_packages_hold_every_file(installed: Path):
    installed, here = (
        {path for path in contents(folder) if path.suffix != ".so"} for folder in (installed, ROOT)
    )
    assert installed == here


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_the_encoders_in_c_are_built_from_the_sdist(installed: Path, tmp_path: Path):
    code = (
        f"import sys; sys.path[0] = {str(installed)!r}\n"
        "from model.kernels import library\n"
        f"assert library.__file__.startswith({str(installed)!r})\n"
        "print(library.open_library().twinbeam_level())\n"
    )

    assert int(run(sys.executable, "-c", code, cwd=tmp_path)) > 0


def test_without_a_compiler_it_installs_and_says_what_is_missing(sdist: Path, tmp_path: Path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    no_compiler = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false"}
    done = subprocess.run(
        [*map(str, install), "--no-build-isolation", str(sdist)],
        cwd=tmp_path, env=no_compiler, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.glob("model/kernels/*.so"))
    code = f"import sys; sys.path[0] = {str(tmp_path)!r}\n" + (
        "from model.kernels import library\nprint(library.open_library(), library.__file__)\n"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).startswith(f"None {tmp_path}")


def test_every_module_can_be_imported_away_from_the_root(installed: Path, tmp_path: Path):
    code = (
        "import importlib, sys\n"
        f"sys.path[0] = {str(installed)!r}\n"
        f"for name in {sorted(modules(installed))!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(installed)!r}), name\n"
    )

    run(sys.executable, "-c", code, cwd=tmp_path)


def test_what_needs_nothing_is_imported_in_an_empty_environment(installed: Path, tmp_path: Path):
    venv.create(tmp_path / "empty", with_pip=False)
    code = (
        "import importlib, sys\n"
        f"sys.path[0] = {str(installed)!r}\n"
        f"for name in {NEED_NOTHING!r}:\n"
        "    importlib.import_module(name)\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        "assert not [file for file in files if 'site-packages' in file]\n"
    )

    run(tmp_path / "empty/bin/python", "-c", code, cwd=tmp_path)
