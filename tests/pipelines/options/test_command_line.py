"""Flags of our own and Beam's, and how an error reaches a person: one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import threading

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import StandardOptions

from pipelines.options import beam_interface, command_line, shared_flags
from transforms.errors import RunError, UserError
from twinbeam.commands import COMMANDS


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    names = [f"apache_beam.runners.{name}" for name in ("common", "worker", "portability")]
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def fails_with(error):
    def run():
        raise error

    return run


def in_a_worker(error):
    """The same error from a pipeline, where it comes back as the text of another one."""

    def fail(_):
        raise error

    def run():
        with beam.Pipeline("FnApiRunner") as pipeline:
            pipeline | beam.Create([1]) | beam.Map(fail)

    return run


@pytest.mark.parametrize("place", [fails_with, in_a_worker])
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no column 'a'; name yours"), 2, "no column 'a'; name yours"),
        (RunError("the disk\nis full"), 1, "the disk"),
    ],
)
def test_errors_of_ours_are_one_line(capsys, place, error, code, line):
    assert command_line.run_main(place(error)) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"twinbeam: {line}") and printed.count("\n") == 1


def test_an_unforeseen_error_of_a_worker_does_not_quote_rows(capsys):
    assert command_line.run_main(in_a_worker(KeyError("a secret row"))) == 1
    printed = capsys.readouterr().err
    assert printed == "twinbeam: a worker failed with KeyError\n"


def test_an_unforeseen_error_of_the_launcher_says_what_it_is(capsys):
    assert command_line.run_main(fails_with(OSError("no credentials\nand more"))) == 1
    assert "twinbeam: OSError: no credentials\n" in capsys.readouterr().err


def test_the_traceback_is_there_on_demand(monkeypatch):
    monkeypatch.setenv(command_line.TRACEBACK, "1")
    with pytest.raises(KeyError):
        command_line.run_main(fails_with(KeyError("x")))


def test_done_and_stopped(capsys):
    assert command_line.run_main(lambda: None) == 0
    assert command_line.run_main(fails_with(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "twinbeam: stopped; the same command again resumes\n"


@pytest.mark.parametrize("name", [None, "DirectRunner", "PrismRunner", "BundleBasedDirectRunner"])
def test_the_local_runner_is_pinned(name):
    flags = [] if name is None else [f"--runner={name}"]
    assert beam_interface.beam_options(flags).view_as(StandardOptions).runner == "FnApiRunner"


def test_other_runners_are_left_alone():
    found = beam_interface.beam_options(["--runner=FlinkRunner"]).view_as(StandardOptions).runner
    assert found == "FlinkRunner"


def test_an_unknown_flag_is_named():
    with pytest.raises(UserError, match="--shard_row"):
        beam_interface.beam_options(["--shard_row=3"])
    with pytest.raises(UserError, match="'--runer=x', did you mean --runner"):
        beam_interface.beam_options(["--runer=x"])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (shared_flags.count, ["0", "7"], ["-1", "1.5", "nan", ""]),
        (shared_flags.finite, ["-2.5", "0", "1e3"], ["nan", "inf", "-inf", "x"]),
        (shared_flags.not_negative, ["0", "0.1", "3"], ["-1", "-0.1", "nan", "inf"]),
        (shared_flags.fraction, ["0", "1", "0.5"], ["nan", "inf", "-0.1", "1.1"]),
    ],
)
def test_kinds_of_numbers(kind, good, bad):
    assert [kind(text) for text in good] == [float(text) for text in good]
    for text in bad:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            kind(text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
def test_positive_takes_whole_numbers_above_zero(text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        shared_flags.positive(text)


@pytest.mark.parametrize(
    ("text", "good"), [("0", True), ("1", True), ("1.01", False), ("nan", False)]
)
def test_fraction_is_from_0_to_1(text, good):
    if good:
        assert shared_flags.fraction(text) == float(text)
    else:
        with pytest.raises(argparse.ArgumentTypeError):
            shared_flags.fraction(text)


def test_a_flag_of_several_values_that_is_given_twice_counts_both_times():
    """The last would win otherwise, and the files of the first would be left out unnoticed."""
    found = set()
    for name, command in COMMANDS.items():
        for action in command.parser()._actions:
            if not (action.option_strings and action.nargs in ("+", "*")):
                continue
            parser = command.parser()
            for each in (*parser._actions, *parser._mutually_exclusive_groups):
                each.required = False
            flag, words = action.option_strings[0], ["n=text", "m=text", "o=text"]
            if action.choices:
                words = [str(word) for word in list(action.choices)[:3]]
            few, _ = parser.parse_known_args([flag, *words])
            twice, _ = parser.parse_known_args([flag, *words[:2], flag, *words[2:]])
            assert getattr(twice, action.dest) == getattr(few, action.dest), (name, flag)
            found.add((name, flag))
    assert len(found) > 15
