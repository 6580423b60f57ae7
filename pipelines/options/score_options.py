"""The options of scoring, and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from model.scoring.scorer_options import ScorerOptions
from pipelines.options import shared_flags
from pipelines.options.parser import CommandParser, Switch
from pipelines.options.run_options import PairOptions, add_pair_flags, common_fields
from transforms import drift
from transforms.accounts.claims import Claim
from transforms.accounts.gates import Gates
from transforms.errors import UserError

if TYPE_CHECKING:
    from transforms.scoring.score_shards import ScoreSettings

DESCRIPTION = (
    "Scores Parquet of sentence pairs with a bundle: the same rows, a similarity and a label."
)
EXAMPLE = "twinbeam score --input 'pairs/*.parquet' --model bundle --output scores"


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(PairOptions):
    """The options of a scoring run."""

    model: str
    scoring: ScorerOptions = field(default_factory=ScorerOptions)
    compression: str = "zstd"
    max_drift: float | None = None
    on_long_sentence: Literal["reject", "truncate"] = "reject"
    redact: bool = True
    model_sha256: str | None = None
    encode_once: Literal["shard", "global"] = "shard"
    embedding_store: str | None = None

    def paths(self) -> list[str]:
        """Every path that workers use."""
        return [*self.inputs, self.model, self.output, *filter(None, [self.embedding_store])]

    @property
    def gates(self) -> Gates:
        """What the run may not exceed."""
        return Gates(self.max_reject_fraction, self.max_drift)

    def settings(self, claim: Claim, run_key: str) -> ScoreSettings:
        """What workers need of these options to score a shard."""
        from transforms.scoring.score_shards import ScoreSettings  # loads Beam, and help does not

        return ScoreSettings(
            claim,
            run_key,
            self.columns,
            self.max_chars,
            truncate=self.on_long_sentence == "truncate",
            redact=self.redact,
            compression=self.compression,
        )

    def identity(self) -> dict[str, Any]:
        """The options that decide the bytes of the output."""
        return {
            "columns": [*self.columns.sides],
            "scoring": self.scoring.identity(),
            "on_long_sentence": self.on_long_sentence,
            "redact": self.redact,
            "compression": self.compression,
            **self.read_as(),
        }


def flags() -> argparse.ArgumentParser:
    """All flags that are ours."""
    parser = CommandParser("score", DESCRIPTION, EXAMPLE, takes_beam_flags=True)
    add_pair_flags(parser, add_flags, label=None)
    return parser


def parse(argv: Sequence[str]) -> ScoreOptions:
    """Flags → options."""
    args, beam_flags = flags().parse_known_args(argv)
    if args.dimensions and args.embedding_store:
        raise UserError("--dimensions keeps parts of vectors, and --embedding_store all of them")
    return ScoreOptions(
        **common_fields(args, beam_flags),
        inputs=tuple(args.input),
        model=args.model.rstrip("/"),
        columns=shared_flags.columns(args),
        scoring=ScorerOptions(
            similarity_column=args.similarity_column,
            label_column=args.similarity_label_column,
            threshold=args.threshold,
            embedding_cache_mb=args.embedding_cache_mb,
            dimensions=args.dimensions,
        ),
        compression=args.compression,
        max_drift=args.max_drift,
        on_long_sentence=args.on_long_sentence,
        redact=args.redact,
        model_sha256=args.model_sha256,
        encode_once=args.encode_once or ("global" if args.embedding_store else "shard"),
        embedding_store=args.embedding_store,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of scoring."""
    group = parser.add_argument_group("scoring")
    shared_flags.add_bundle_flags(group)
    group.add_argument("--similarity_column", default="similarity", help="name of the similarity")
    group.add_argument(
        "--similarity_label_column", default="similarity_label", help="name of the label"
    )
    group.add_argument(
        "--threshold",
        type=shared_flags.finite,
        help="label 1 from this similarity on (default: the bundle's)",
    )
    group.add_argument(
        "--dimensions",
        type=shared_flags.positive,
        help="compare only the first N floats of the vectors, for bundles trained with matryoshka",
    )
    group.add_argument(
        "--embedding_cache_mb",
        type=shared_flags.count,
        default=256,
        help="memory per worker process for vectors of sentences seen before; 0 for none",
    )
    group.add_argument(
        "--encode_once",
        choices=("shard", "global"),
        help="encode each distinct sentence once per shard and cache, or once for "
        "the whole input (for heavy encoders); default: shard, or "
        "global with --embedding_store",
    )
    shared_flags.add_embedding_store(group)
    shared_flags.add_reject_limit(group)
    group.add_argument(
        "--max_drift",
        type=shared_flags.not_negative,
        help="with a greater drift from the training data the run fails and does not commit; "
        f"{drift.LITTLE} is little, {drift.MUCH} much",
    )
    group.add_argument(
        "--on_long_sentence",
        choices=("reject", "truncate"),
        default="reject",
        help="whether a row with a longer sentence is rejected, or scored by the "
        "sentence's beginning",
    )
    group.add_argument(
        "--redact",
        action=Switch,
        default=True,
        help="keep the model's error messages, which may quote rows, out of reject "
        "details and errors",
    )
    shared_flags.add_compression(group)
    group.add_argument(
        "--overwrite", action="store_true", help="replace scores of another run in --output"
    )
