"""A training run that is started once more after its bundle has appeared."""

from __future__ import annotations

import json

import pytest

from model.bundle import loading
from model.training.train import TrainOptions
from pipelines.train import check_output, finished
from transforms.errors import UserError


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A run whose bundle lies there whole; `verify` has tests of its own."""
    monkeypatch.setattr(loading, "verify", lambda folder: {})
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "metrics.json").write_text(json.dumps({"run": "abc", "epochs": 3}))
    return TrainOptions(examples="e", output=str(tmp_path), checkpoints="c")


def test_its_own_bundle_is_left_as_it_is_and_its_metrics_are_given(asked, capsys):
    assert check_output(asked)
    assert finished(asked, "abc") == {"run": "abc", "epochs": 3}
    assert "nothing to do: this run's bundle is in" in capsys.readouterr().out


def test_another_runs_bundle_is_refused(asked):
    with pytest.raises(UserError, match="is not empty"):
        finished(asked, "another recipe, seed or examples")
