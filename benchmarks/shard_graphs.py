"""The graphs that the commands would send to a runner, and their sizes; nothing runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from model.scoring.scorer_options import ScorerOptions
from transforms.accounts.claims import take
from transforms.accounts.list_shards import listing
from transforms.accounts.output_folder import Work
from transforms.accounts.staging import Staging
from transforms.input.shards import Plan, Shard

FIELDS = (pa.field("similarity", pa.float32()), pa.field("similarity_label", pa.int64()))


def made_up(count: int) -> list[Shard]:
    """Shards of as many files that are not there."""
    return [
        Shard(f"in/{n:07d}.parquet", "0" * 32, f"{n:07d}-00000-of-00001.parquet", 0, 1, 131_072)
        for n in range(count)
    ]


@dataclass(frozen=True)
class NoBundle:
    """In place of `BundleScorer`: nothing is encoded here."""

    bundle: str = "bundle"
    options: ScorerOptions = field(default_factory=ScorerOptions)

    def load(self) -> None:
        """Is not called."""


@contextmanager
def _caught(module: ModuleType) -> Iterator[list[int]]:
    """Catches the graphs that a command's module makes; gives their sizes in bytes."""
    sizes: list[int] = []

    @contextmanager
    def catch(options: PipelineOptions) -> Iterator[beam.Pipeline]:
        pipeline = beam.Pipeline("FnApiRunner")
        yield pipeline
        sizes.append(len(pipeline.to_runner_api().SerializeToString()))

    given = module.running
    module.running = catch
    try:
        yield sizes
    finally:
        module.running = given


def score_graph(shards: Sequence[Shard], output: str) -> int:
    """Bytes of the graph of `score`."""
    from pipelines.options.score_options import parse
    from pipelines.scoring import score_pairs
    from pipelines.scoring.plan_scores import ScorePlan

    options = parse(["--input", "in", "--model", "bundle", "--output", output])
    bundle = {"fingerprint": "bundle", "dimensions": 2}
    made = ScorePlan(options, NoBundle(), bundle, Plan(tuple(shards), {}, ()), [], None, "key")
    work = Work(tuple(shards), (), committed=False, claim=take(output))
    with _caught(score_pairs) as sizes:
        score_pairs.run_scoring(made, work, PipelineOptions(), started=0.0)
    return sizes[0]


def evaluate_graph(shards: Sequence[Shard], output: str) -> int:
    """Bytes of the graph of `evaluate`, with as many shards of training pairs."""
    from pipelines import evaluate

    options = evaluate.parse(["--input", "in", "--output", output, "--task", "binary"])
    settings = evaluate.EvaluationSettings(options.columns)
    with (
        tempfile.TemporaryDirectory(prefix="twinbeam-bench-") as scratch,
        _caught(evaluate) as sizes,
    ):
        scored, training = (listing(scratch, label, shards) for label in ("scored", "training"))
        write = evaluate.WriteEvaluation(options, Staging(output, "run"), 0.0, {})
        evaluate.run_evaluation(options, scored, training, settings, write, PipelineOptions())
    return sizes[0]


def preprocess_graph(shards: Sequence[Shard], output: str) -> int:
    """Bytes of the graph of `preprocess`."""
    from pipelines.examples import make_examples
    from pipelines.examples.plan_examples import ExamplesPlan
    from pipelines.examples.transform_graph import given_vocabulary
    from pipelines.options.preprocess_options import parse

    wanted = ["--input", "in", "--recipe", "char-bilstm-manhattan", "--output", output]
    options = parse(wanted)
    vocabulary = given_vocabulary(options.recipe)
    made = ExamplesPlan(vocabulary, tuple(shards), (), {})
    staging = Staging(output, "run")
    with _caught(make_examples) as sizes:
        commit = made.commit(options, staging, staging.folder, started=0.0)
        make_examples.run_preprocessing(options, made, commit, PipelineOptions())
    return sizes[0]
