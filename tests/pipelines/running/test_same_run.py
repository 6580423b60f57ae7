from __future__ import annotations

import json

import pytest

from pipelines.running import same_run
from pipelines.running.same_run import is_done, made_from
from transforms.errors import RunError, UserError

NOW = made_from({"epochs": 3, "columns": ["a", "b"], "recipe": "x" * 99}, {"in": "1", "to": "2"})


def test_the_same_is_done_whatever_the_order_of_inputs(capsys):
    again = made_from(
        {"recipe": "x" * 99, "columns": ("a", "b"), "epochs": 3}, {"to": "2", "in": "1"}
    )
    assert is_done("out", again, NOW, overwrite=False)
    assert capsys.readouterr().out == "out is complete already: same inputs and options\n"


@pytest.mark.parametrize("before", [None, [], "x"])
def test_what_keeps_nothing_is_not_done(before):
    assert not is_done("out", before, NOW, overwrite=False)


def test_overwrite_makes_it_again():
    assert not is_done("out", NOW, NOW, overwrite=True)


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (NOW | {"epochs": 5}, r"\(--epochs 5, now 3\)"),
        (NOW | {"columns": ["a", "c"]}, r"\(--columns a c, now a b\)"),
        (NOW | {"recipe": "y"}, r"\(--recipe\)"),
        (NOW | {"inputs": "0"}, "the inputs have changed"),
        (NOW | {"new": 1}, "--new 1, now none"),
        ({}, "--epochs none, now 3"),
    ],
)
def test_what_differs_is_named(before, line):
    with pytest.raises(UserError, match=line):
        is_done("out", before, NOW, overwrite=False)


@pytest.mark.parametrize(
    ("left", "error"), [({}, "is not there"), ({"key": 1}, "is of another run")]
)
def test_what_an_adopted_job_has_left_is_checked(tmp_path, left, error):
    path = tmp_path / "made.json"
    if left:
        path.write_text(json.dumps(left))
    with pytest.raises(RunError, match=f"made.json {error}, though the job has ended"):
        same_run.check_made(str(path), "key", 2)
    path.write_text('{"key": 2}')
    same_run.check_made(str(path), "key", 2)
