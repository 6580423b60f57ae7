"""A training run that is started once more after its bundle has appeared."""

from __future__ import annotations

import json

import pytest

from model.bundle import loading
from model.recipe import load_recipe
from model.recipe.reading import with_training
from model.training.train import TrainOptions
from pipelines.training.bundle_output import finished, is_bundle_kept
from transforms.errors import UserError

RECIPE = with_training(load_recipe("char-bilstm-manhattan"), epochs=3, seed=None, batch_size=None)


@pytest.fixture
def options(tmp_path, monkeypatch):
    """A run whose bundle is there; `verify` has tests of its own."""
    monkeypatch.setattr(loading, "verify", lambda folder: {})
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "metrics.json").write_text(
        json.dumps({"run": "abc", "threshold_rule": RECIPE.training.threshold_rule})
    )
    (tmp_path / "recipe.yaml").write_text(RECIPE.to_yaml())
    return TrainOptions(examples="e", output=str(tmp_path))


def test_its_own_bundle_is_left_as_it_is_and_its_metrics_are_given(options, capsys):
    assert is_bundle_kept(options)
    assert finished(options, RECIPE, "abc")["run"] == "abc"
    assert "is complete already: same examples, recipe and options" in capsys.readouterr().out


def test_another_runs_bundle_is_refused_with_what_differs(options):
    with pytest.raises(UserError, match=r"\(other examples\)"):
        finished(options, RECIPE, "of other examples")
    more = with_training(RECIPE, epochs=5, seed=7, batch_size=None)
    with pytest.raises(UserError, match="epochs 3, now 5.*--overwrite"):
        finished(options, more, "another run")
    with pytest.raises(UserError, match=rf"seed {RECIPE.training.seed}, now 7"):
        finished(options, more, "another run")
    repeated = TrainOptions(examples="e", output=options.output, threshold_rule="precision>=0.9")
    with pytest.raises(UserError, match="now precision>=0.9"):
        finished(repeated, RECIPE, "abc")
