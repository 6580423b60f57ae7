"""The plan of a scoring run: all that is known before a folder is claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from model.scoring.bundle_scorer import BundleScorer
from pipelines.running import run_inputs, trained_on
from pipelines.running.phases import phase
from transforms import drift
from transforms.accounts import shard_account
from transforms.errors import UserError
from transforms.input.shards import Plan, Shard
from transforms.scoring.embedding_store import EmbeddingStore
from transforms.scoring.encode_once import bucket_count
from transforms.storage import files
from transforms.versions import versions

if TYPE_CHECKING:
    from pipelines.options.score_options import ScoreOptions


PACKAGES = ("apache-beam", "pyarrow", "tensorflow", "keras")


@dataclass(frozen=True)
class ScorePlan:
    """All that is known before a folder is claimed.

    Attributes:
        options: of the run.
        scorer: the bundle and how to score with it.
        bundle: its manifest.
        input: shards, schemas, and files left out.
        inputs_seen: names of input files that the bundle was trained on.
        encode_once: how sentences are encoded for the whole input; None for shard by shard.
        key: see `run_key`.
        trained: what the bundle keeps of its training data, for drift.
    """

    options: ScoreOptions
    scorer: BundleScorer
    bundle: dict[str, Any]
    input: Plan
    inputs_seen: list[str]
    encode_once: EncodePlan | None
    key: str
    trained: drift.Profile = field(default_factory=dict)

    def identity(self) -> list[str]:
        """All that decides what is written."""
        return [self.key, *(shard.fingerprint for shard in self.input.shards)]

    def header(self) -> dict[str, Any]:
        """What the manifest says besides the accounts."""
        return {
            "bundle": {
                "path": self.options.model,
                "fingerprint": self.bundle["fingerprint"],
            },
            "options": self.options.identity(),
            "run_key": self.key,
            trained_on.INPUTS_SEEN: self.inputs_seen,
            "files_rejected": [asdict(file) for file in self.input.rejected],
            "versions": versions(PACKAGES),
        }


def plan_scores(options: ScoreOptions) -> ScorePlan:
    """Checks the bundle, finds the input and cuts it into shards.

    Raises:
        UserError: one of them cannot be used.
    """
    scorer = BundleScorer(options.model, options.scoring)
    with phase("checking the bundle"):
        bundle = scorer.verify()
    run_inputs.check_pin(options.model, options.model_sha256, bundle["fingerprint"])
    check_threshold(options.scoring.threshold, bundle)
    metrics = trained_on.read_metrics(options.model)
    trained = trained_on.trained_profile(metrics)
    if options.max_drift is not None and not trained:
        raise UserError(
            f"--max_drift: {options.model} keeps no profile of its training data, so drift cannot "
            "be measured; leave it out"
        )
    planned = run_inputs.plan_input(
        options, options.inputs, options.columns, named_after_input=True
    )
    inputs = {shard.source: shard.fingerprint for shard in planned.shards}
    seen = trained_on.inputs_trained_on(metrics, inputs)
    # With the versions, since vectors may differ between them by rounding: a run that was begun
    # with others is not resumed, so all shards of an output are made by the same ones.
    key = shard_account.run_key(
        bundle=bundle["fingerprint"], versions=versions(PACKAGES), **options.identity()
    )
    encode_once = plan_encoding(options, bundle, planned.shards)
    return ScorePlan(options, scorer, bundle, planned, seen, encode_once, key, trained)


@dataclass(frozen=True)
class EncodePlan:
    """How the distinct sentences of the whole input are encoded: in buckets, with a store."""

    buckets: int
    store: EmbeddingStore | None = None


def plan_encoding(
    options: ScoreOptions, bundle: dict[str, Any], shards: Sequence[Shard]
) -> EncodePlan | None:
    """Whether and how sentences are encoded once for the whole input.

    Raises:
        UserError: the embedding store is another bundle's, or needs the other plan.
    """
    if options.encode_once == "shard":
        if options.embedding_store:
            raise UserError(
                "--embedding_store goes with --encode_once=global; each sentence is then looked up "
                "and encoded once a run"
            )
        return None
    store = None
    if options.embedding_store:
        store = EmbeddingStore(options.embedding_store, bundle["fingerprint"], bundle["dimensions"])
        store.open()
    return EncodePlan(bucket_count(sum(shard.rows for shard in shards)), store)


def check_threshold(threshold: float | None, bundle: dict[str, Any]) -> None:
    """Checks that a threshold that was given can cut the bundle's similarities.

    Raises:
        UserError: there are no two classes, or it is not one of their similarities.
    """
    task = bundle.get("task", "binary")
    if threshold is None:
        return
    if task != "binary":
        raise UserError(f"--threshold is for two classes; the task of this bundle is {task}")
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: expected a similarity from 0 to 1")


def check_clashes(
    options: ScoreOptions, schemas: dict[str, pa.Schema], added: Sequence[pa.Field]
) -> None:
    """Checks that nothing the run writes clashes with what it reads, or with something else of it.

    Names that differ only in case clash too: Spark, Hive and DuckDB do not distinguish them.

    Raises:
        UserError: names the clash and the flag that fixes it.
    """
    flags = {
        options.scoring.similarity_column: "--similarity_column",
        options.scoring.label_column: "--similarity_label_column",
    }
    own = Counter(new.name.lower() for new in added)
    for new in added:
        if not new.name or own[new.name.lower()] > 1:
            raise UserError(
                f"{flags.get(new.name, '--similarity_column')} {new.name!r}: expected a name that "
                "no other added column has"
            )
    for source, schema in schemas.items():
        if files.is_inside(source, options.output):
            raise UserError(
                f"--output {options.output} holds the input {source}; choose another folder"
            )
        names = {name.lower(): name for name in schema.names}
        for new in added:
            if new.name.lower() in names:
                fix = flags.get(new.name)
                raise UserError(
                    f"{source} has a column {names[new.name.lower()]!r} already; "
                    + (f"choose another name with {fix}" if fix else "rename it first")
                )
