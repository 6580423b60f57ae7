"""Of two trainings into one folder the one that began later publishes, whichever is ready first."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.bundle import export
from model.recipe import load_recipe
from model.training import evaluation, fitting, strategy, train
from model.training.train import TrainOptions, train_recipe
from transforms.accounts.staging import Staging, stage
from transforms.errors import RunError
from transforms.storage import lock

RECIPE = load_recipe("char-bilstm-manhattan")


def publish(folder: Path, staging: Staging, name: str) -> None:
    """A bundle that says whose it is, and has a file that no other one has."""
    local = folder / f"made-{name}"
    local.mkdir()
    (local / f"of-{name}").write_text(name)
    export.publish_bundle(local, staging, {"made_by": name})


@pytest.fixture
def train_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trains into `bundle` as the run that began first; something happens while it trains."""
    monkeypatch.setattr(lock, "_take", lambda path, busy: None)  # two machines share no lock
    monkeypatch.setattr(lock, "_release", lambda path, held: None)
    alone = SimpleNamespace(cluster=SimpleNamespace(is_chief=True, workers=1), why="alone")
    monkeypatch.setattr(strategy, "choose_strategy", lambda name: alone)
    monkeypatch.setattr(train, "begin", lambda *_: (None, {}))
    monkeypatch.setattr(evaluation, "measure_run", lambda *_: {"threshold": 0.5})
    monkeypatch.setattr(
        export, "export_bundle", lambda staging, **_: publish(tmp_path, staging, "older")
    )
    examples = SimpleNamespace(folder="examples")

    def run(meanwhile) -> None:
        monkeypatch.setattr(fitting, "fit", lambda *_, **__: meanwhile())
        options = TrainOptions(examples="examples", output=str(tmp_path / "bundle"), overwrite=True)
        train_recipe(options, examples, RECIPE, started=0.0)  # type: ignore[arg-type]

    return run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An output that holds a bundle already, which both trainings are to replace."""
    publish(tmp_path, stage(str(tmp_path / "bundle"), overwrite=False), "first")
    return tmp_path / "bundle"


def holds(bundle: Path) -> tuple[str, set[str]]:
    made_by = json.loads((bundle / "manifest.json").read_text())["made_by"]
    return made_by, {path.name for path in bundle.iterdir()} - {"manifest.json"}


@pytest.mark.parametrize("later_is_ready", ["first", "last"])
def test_a_training_that_was_overtaken_publishes_nothing(
    tmp_path: Path, bundle: Path, train_older, later_is_ready: str
):
    later: list[Staging] = []

    def begin_later() -> None:
        later.append(stage(str(bundle), overwrite=True))
        if later_is_ready == "first":
            publish(tmp_path, later[0], "later")

    with pytest.raises(RunError, match="taken over by another run"):
        train_older(begin_later)
    if later_is_ready == "last":
        assert holds(bundle) == ("first", {"of-first"})  # untouched until the later one is ready
        publish(tmp_path, later[0], "later")

    assert holds(bundle) == ("later", {"of-later"})


def test_a_training_that_is_alone_replaces_the_bundle(tmp_path: Path, bundle: Path, train_older):
    train_older(lambda: None)

    assert holds(bundle) == ("older", {"of-older"})
    assert not (tmp_path / "bundle.partial").exists()
