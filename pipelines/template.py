"""The Dataflow flex template of a command: its parameters, from the command's own flags.

Write: twinbeam template score --image IMAGE --output gs://bucket/templates/score.json
The image starts `launch` with the parameters that a person filled in.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.dataflow import estimate
from pipelines.options import command_line, shared_flags
from pipelines.options.parser import CommandParser, Switch
from transforms.errors import UserError
from transforms.storage import files

STEPS = ("score", "preprocess")
STEP = "step"
LEFT_OUT = ("help", "estimate", "prices", "pairs_per_second")  # a template only runs
EXAMPLE = (
    "twinbeam template score --image europe-docker.pkg.dev/p/twinbeam/worker:gpu "
    "--output gs://bucket/templates/score.json"
)
_WHOLE = r"^[1-9][0-9]*$"
_FRACTION = r"^(0|1|0?\.[0-9]+|1\.0+|0\.0+)$"
_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_PATH = r"^gs://[^/\s]+(/[^\s]*)?$"
_REGEXES = {
    "input": r"^gs://[^/\s]+/\S+( +gs://[^/\s]+/\S+)*$",
    "model": _PATH,
    "output": _PATH,
    "embedding_store": _PATH,
    "model_sha256": r"^[0-9a-f]{64}$",
    "accelerator": r"^[a-z][a-z0-9-]*:[1-9][0-9]*$",
}
_IMAGE = {
    "name": "sdk_container_image",
    "label": "Image of the workers",
    "helpText": "The image that the workers start; the template's own image will do.",
    "isOptional": False,
    "regexes": [r"^[a-z0-9.-]+/[a-zA-Z0-9._/-]+(:[a-zA-Z0-9._-]+|@sha256:[0-9a-f]{64})?$"],
    "paramType": "TEXT",
}
_BY_TYPE = {
    shared_flags.positive: _WHOLE,
    shared_flags.fraction: _FRACTION,
    int: _NUMBER,
    float: _NUMBER,
    shared_flags.finite: _NUMBER,
    shared_flags.not_negative: _NUMBER,
    estimate.above_zero: _NUMBER,
}


def flags_of(step: str) -> argparse.ArgumentParser:
    """The parser of one of our commands."""
    parser: argparse.ArgumentParser = importlib.import_module(
        f"pipelines.options.{step}_options"
    ).flags()
    return parser


def metadata(step: str) -> dict[str, Any]:
    """What Dataflow shows and checks before it launches the template."""
    described = {
        "name": STEP,
        "label": "Step",
        "helpText": f"The command to run: {step}.",
        "isOptional": False,
        "regexes": [f"^{step}$"],
        "paramType": "TEXT",
    }
    actions = [action for action in flags_of(step)._actions if action.dest not in LEFT_OUT]
    return {
        "name": f"twinbeam {step}",
        "description": " ".join((flags_of(step).description or "").split()),
        "parameters": [described, _IMAGE, *(_parameter(action) for action in actions)],
    }


def _parameter(action: argparse.Action) -> dict[str, Any]:
    silent = action.default in (None, False) or action.default == []
    default = "" if silent else f" Default: {action.default}."
    name = action.dest
    return {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "helpText": f"{_sentence(action.help or '')}{default}",
        "isOptional": not action.required,
        "regexes": [_regex(action)],
        "paramType": "TEXT",
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _regex(action: argparse.Action) -> str:
    if action.nargs == 0 or isinstance(action, Switch):
        return "^(true|false)$"
    if action.choices:
        return f"^({'|'.join(map(str, action.choices))})$"
    kind = getattr(action.type, "func", action.type)
    return _REGEXES.get(action.dest) or _BY_TYPE.get(kind) or r"^.+$"


def container_spec(step: str, image: str) -> dict[str, Any]:
    """The template file: which image to start, and with which parameters."""
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata(step),
    }


def command_words(parameters: Sequence[str]) -> tuple[str, list[str]]:
    """What the launcher passes on, `--name=value`, as one of our commands wants it.

    Returns:
        The step, and its arguments: patterns apart, switches without a value.

    Raises:
        UserError: no such step.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{STEP}", required=True)
    found, rest = parser.parse_known_args(list(parameters))
    if found.step not in STEPS:
        raise UserError(f"--{STEP} {found.step!r} is none of {', '.join(STEPS)}")
    actions = {action.dest: action for action in flags_of(found.step)._actions}
    return found.step, [word for one in rest for word in _words(one, actions)]


def _words(parameter: str, actions: dict[str, argparse.Action]) -> list[str]:
    name, _, value = parameter.removeprefix("--").partition("=")
    action = actions.get(name)
    if action is None:  # Beam's
        return [parameter]
    if isinstance(action, Switch):
        return [f"--{name}" if value == "true" else f"--no_{name}"]
    if action.nargs == 0:
        return [f"--{name}"] if value == "true" else []
    if action.nargs == "+":
        return [f"--{name}", *value.split()]
    return [parameter]


def launch(argv: Sequence[str] | None = None) -> int:
    """What the image runs: the command that the parameters ask for; returns its exit code."""

    def run() -> Any:
        step, words = command_words(sys.argv[1:] if argv is None else argv)
        return importlib.import_module(f"pipelines.{step}").run(words)

    return command_line.run_main(run)


def flags() -> argparse.ArgumentParser:
    """All flags of `template`."""
    parser = CommandParser("template", (__doc__ or "").splitlines()[0], EXAMPLE)
    parser.add_argument("step", choices=STEPS, help="the command")
    parser.add_argument(
        "--image", help="the image to start; without it only the metadata is written"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="local or gs://")
    return parser


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Writes the template, or its metadata where no image is given."""
    args = flags().parse_args(sys.argv[1:] if argv is None else argv)
    content = container_spec(args.step, args.image) if args.image else metadata(args.step)
    files.write_bytes(
        files.output_file(args.output), (json.dumps(content, indent=2) + "\n").encode()
    )
    print(f"{args.output}: {len(metadata(args.step)['parameters'])} parameters")
    return content


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
