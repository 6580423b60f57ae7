"""Options of `pipelines.import_model`, from its flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser, Switch
from transforms.errors import UserError

DESCRIPTION = "Makes a bundle of a model that was trained elsewhere: a .keras file, a SavedModel."
EXAMPLE = "twinbeam import siamese.keras --vocabulary words.json --threshold 0.5 --output bundle"
TOKENIZERS = ("char", "word", "keras", "space")
DROP = "drop"
_KERAS_ONLY = (
    "vocabulary", "tokenizer", "lowercase", "nfkc", "unknown_id", "max_tokens", "padding", "cut",
    "gives", "encoder_layer",
)  # fmt: skip
_SAVED_MODEL_ONLY = ("comparison", "signature", "vectors")


@dataclass(frozen=True)
class ImportOptions:
    """The options of an import; None was not given."""

    model: str
    output: str
    threshold: float
    measured_on: str = "the person who imported it"
    name: str | None = None
    overwrite: bool = False
    vocabulary: str | None = None
    tokenizer: str | None = None
    lowercase: bool | None = None
    nfkc: bool | None = None
    unknown_id: str | None = None
    max_tokens: int | None = None
    padding: str | None = None
    cut: str | None = None
    gives: str | None = None
    encoder_layer: str | None = None
    comparison: str | None = None
    signature: str | None = None
    vectors: str | None = None

    @property
    def of_keras(self) -> bool:
        """Whether the model is a file, and no folder of a SavedModel."""
        return self.model.endswith((".keras", ".h5", ".hdf5"))

    def identity(self) -> dict[str, Any]:
        """The options that decide what is in the bundle."""
        return {
            key: value for key, value in vars(self).items() if key not in ("overwrite", "output")
        }


def flags() -> argparse.ArgumentParser:
    """All flags of an import."""
    parser = CommandParser("import", DESCRIPTION, EXAMPLE)
    parser.add_argument("model", metavar="MODEL", help="a .keras file, or a SavedModel's folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the bundle")
    parser.add_argument(
        "--threshold",
        required=True,
        type=shared_flags.finite,
        help="label 1 from this similarity on; twinbeam calibrate finds a better one from labels",
    )
    parser.add_argument(
        "--measured_on",
        default=ImportOptions.measured_on,
        metavar="WORDS",
        help="the pairs on which the threshold was chosen, for the model card",
    )
    parser.add_argument("--name", help="name of the bundle (default: the file's name)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    _add_keras_flags(parser)
    _add_saved_model_flags(parser)
    return parser


def _add_keras_flags(parser: argparse.ArgumentParser) -> None:
    keras = parser.add_argument_group(".keras: two inputs, the ids of either sentence, one output")
    keras.add_argument(
        "--vocabulary",
        metavar="FILE",
        help="token → id: JSON ({token: id}, or a list), or one token per line "
        "from id 0; not for models that take sentences",
    )
    keras.add_argument(
        "--tokenizer",
        choices=TOKENIZERS,
        help="char (the default), word (as recipes have them), keras (lower case, no punctuation, "
        "split at spaces), space",
    )
    keras.add_argument(
        "--lowercase",
        action=Switch,
        help="ignore case (default: yes)",
    )
    keras.add_argument(
        "--nfkc",
        action=Switch,
        help="ignore the difference of full and half width (default: no)",
    )
    keras.add_argument(
        "--unknown_id",
        metavar="ID",
        help=f"id of tokens that are not in the vocabulary (default: 1), or {DROP} "
        "to leave them out",
    )
    keras.add_argument(
        "--max_tokens",
        type=shared_flags.positive,
        help="maximum number of tokens of a sentence (default: 256, or the model's length)",
    )
    keras.add_argument(
        "--padding",
        choices=("post", "pre"),
        help="side on which a model of fixed length is padded (default: post; pad_sequences: pre)",
    )
    keras.add_argument(
        "--cut",
        choices=("post", "pre"),
        help="side on which longer sentences are truncated (default: post; pad_sequences: pre)",
    )
    keras.add_argument(
        "--gives",
        choices=("similarity", "distance"),
        help="meaning of the model's output (default: similarity, 0 to 1); of a "
        "distance d, exp(−d) is used",
    )
    keras.add_argument(
        "--encoder_layer",
        metavar="NAME",
        help="the layer whose output is the sentence's vector (default: where both sides meet)",
    )


def _add_saved_model_flags(parser: argparse.ArgumentParser) -> None:
    saved = parser.add_argument_group("SavedModel: from sentences to vectors")
    saved.add_argument(
        "--comparison",
        choices=("cosine", "manhattan", "euclidean"),
        help="similarity of two vectors (default: cosine)",
    )
    saved.add_argument(
        "--signature", metavar="NAME", help="signature to call (default: the model itself)"
    )
    saved.add_argument(
        "--vectors", metavar="NAME", help="name of the vectors among several outputs"
    )


def parse(argv: Sequence[str]) -> ImportOptions:
    """Flags → options.

    Raises:
        UserError: a flag that means nothing for such a model, or an id that is none.
    """
    options = ImportOptions(**vars(flags().parse_args(argv)))
    other = _SAVED_MODEL_ONLY if options.of_keras else _KERAS_ONLY
    for name in other:
        if getattr(options, name) is not None:
            kind = "a .keras file" if options.of_keras else "a SavedModel"
            raise UserError(f"--{name} means nothing for {kind}; leave it out")
    if options.unknown_id not in (None, DROP) and not str(options.unknown_id).isdecimal():
        raise UserError(f"--unknown_id {options.unknown_id}: expected a whole number, or {DROP}")
    if not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold {options.threshold:g}: expected a similarity from 0 to 1")
    return options
