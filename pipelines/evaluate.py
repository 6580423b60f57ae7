"""Judges labelled scores: measures with intervals, slices, baselines, and a report to look at.

Local: python -m pipelines.evaluate --input scores --label_column label --output report
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import dataflow, dataflow_jobs, options
from pipelines.evaluation_inputs import (
    check_columns,
    find_bundle,
    find_columns,
    lineage,
    score_patterns,
    score_range,
)
from pipelines.out_of_vocabulary import LoadUnknown
from pipelines.plots import PLOTS
from pipelines.report import REPORT, write_report
from pipelines.running import running
from transforms import files
from transforms.bootstrap import RESAMPLES
from transforms.errors import UserError
from transforms.evaluating import EvaluateShards, Evaluation, EvaluationSettings
from transforms.ledger import SUCCESS
from transforms.pairs import PairColumns
from transforms.publishing import publish_folder
from transforms.reading_priors import CountSentences
from transforms.results import results
from transforms.scored_rows import ScoredColumns
from transforms.shards import Shard, plan_shards

METRICS = "metrics.json"
PACKAGES = ("apache-beam", "pyarrow", "numpy")
EXAMPLE = "python -m pipelines.evaluate --input scores --label_column label --output report"


@dataclass(frozen=True)
class EvaluateRun:
    """All that an evaluation was asked for."""

    inputs: tuple[str, ...]
    output: str
    columns: ScoredColumns = field(default_factory=ScoredColumns)
    bundle: str | None = None
    examples: str | None = None
    train_inputs: tuple[str, ...] = ()
    train_columns: PairColumns = field(default_factory=lambda: PairColumns(label="label"))
    worst: int = 20
    resamples: int = RESAMPLES
    shard_rows: int = options.DEFAULT_SHARD_ROWS
    overwrite: bool = False
    beam_flags: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """Every path that workers use."""
        named = filter(None, [self.bundle, self.examples])
        return [*self.inputs, *self.train_inputs, self.output, *named]

    def decides(self) -> dict[str, Any]:
        """The options that decide what the report says."""
        return {key: one for key, one in asdict(self).items() if key != "beam_flags"}


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Evaluates, and returns the content of metrics.json."""
    return evaluate(parse(sys.argv[1:] if argv is None else argv))


def evaluate(asked: EvaluateRun) -> dict[str, Any]:
    """Plans, counts, measures, and writes the report.

    Raises:
        UserError: the input, the output folder or a flag cannot be used.
        RunError: the run failed; nothing appears under --output.
    """
    started = time.time()
    beam_options = options.beam_options(asked.beam_flags)
    dataflow.configure(beam_options, step="evaluate", paths=asked.paths())
    check_output(asked.output, overwrite=asked.overwrite)
    shards = plan_shards(
        score_patterns(asked.inputs), asked.columns.pairs, shard_rows=asked.shard_rows
    )
    check_columns(shards, asked.columns)
    train_shards = []
    if asked.train_inputs:
        train_shards = plan_shards(
            asked.train_inputs, asked.train_columns, shard_rows=asked.shard_rows
        )
    print(f"{sum(shard.rows for shard in shards):,} scored pairs to judge", flush=True)
    decides = [asked.decides(), *(shard.fingerprint for shard in [*shards, *train_shards])]
    if dataflow_jobs.adopt(beam_options, step="evaluate", output=asked.output, decides=decides):
        return tell_result(asked.output)
    settings = EvaluationSettings(asked.columns, score_range(shards, asked.columns), asked.worst)
    write = WriteEvaluation(asked, started, lineage(asked.inputs, asked.bundle, asked.examples))
    run_pipeline(asked, shards, train_shards, settings, write, beam_options)
    return {} if dataflow.only_staged(beam_options) else tell_result(asked.output)


def run_pipeline(
    asked: EvaluateRun,
    shards: Sequence[Shard],
    train_shards: Sequence[Shard],
    settings: EvaluationSettings,
    write: WriteEvaluation,
    beam_options: PipelineOptions,
) -> None:
    """The graph: training pairs → what sentences say; scored pairs → counts → the report."""
    labels = asked.columns.labels
    load_unknown = LoadUnknown(asked.examples) if asked.examples else None
    with running(beam_options) as pipeline:
        priors = None
        if train_shards:
            counted = (
                pipeline
                | "List training shards" >> beam.Create(list(train_shards))
                | "Spread training shards" >> beam.Reshuffle()
                | "Count training sentences" >> CountSentences(asked.train_columns, labels)
            )
            priors = beam.pvalue.AsSingleton(counted)
        (
            pipeline
            | "List shards" >> beam.Create(list(shards))
            | "Spread shards" >> beam.Reshuffle()
            | "Judge shards" >> EvaluateShards(settings, priors, load_unknown)
            | "Write report" >> beam.Map(write)
        )


@dataclass(frozen=True)
class WriteEvaluation:
    """The last step: measures, draws, and makes the folder appear. It runs in a worker."""

    asked: EvaluateRun
    started: float
    lineage: dict[str, Any]

    def __call__(self, evaluation: Evaluation) -> None:
        """Takes the counts of all rows."""
        columns = self.asked.columns
        if self._is_published():
            return  # a runner may do a step twice
        if not evaluation.rows:
            reasons = ", ".join(f"{n} {why}" for why, n in evaluation.skipped.items())
            raise UserError(
                f"no row can be judged ({reasons or 'no rows'}); check --label_column, --classes"
            )
        found: dict[str, Any] = {"task": columns.task, "classes": list(columns.classes)}
        found |= results(evaluation, columns.classes, resamples=self.asked.resamples)
        found |= {
            "lineage": self.lineage,
            "versions": {name: version(name) for name in PACKAGES},
            "started": self.started,
            "seconds": round(time.time() - self.started, 3),
        }
        with tempfile.TemporaryDirectory(prefix="twinbeam-report-") as temporary:
            local = Path(temporary) / "report"
            local.mkdir()
            files.write_json(str(local / METRICS), found)
            write_report(local, found, bundle=self.asked.bundle)
            (local / SUCCESS).touch()
            publish_folder(
                str(local), self.asked.output, last=[SUCCESS], overwrite=self.asked.overwrite
            )

    def _is_published(self) -> bool:
        done, path = (files.join(self.asked.output, name) for name in (SUCCESS, METRICS))
        return files.exists(done) and files.read_json(path).get("started") == self.started


def check_output(output: str, *, overwrite: bool) -> None:
    """Checks that the folder may be written: nothing there, or a report that may be replaced.

    Raises:
        UserError: it holds something else, or a report and no leave to replace it.
    """
    names = files.list_folder(output)
    foreign = [name for name in names if name not in (METRICS, REPORT, SUCCESS, *PLOTS)]
    if foreign:
        raise UserError(
            f"{output} holds {foreign[0]!r}, which no evaluation wrote; choose a new folder"
        )
    if names and not overwrite:
        raise UserError(
            f"{output} holds a report already; choose another folder, or give --overwrite"
        )


def tell_result(output: str) -> dict[str, Any]:
    """Says what was found and where it lies; returns the content of metrics.json."""
    found: dict[str, Any] = files.read_json(files.join(output, METRICS))
    for name, value in found["metrics"].items():
        low, high = found["intervals"].get(name, (None, None))
        shown = "no value" if value is None else f"{value:.4f}"
        print(f"{name:20}{shown:>10}" + (f"   {low:.4f} to {high:.4f}" if low is not None else ""))
    for name, baseline in found["baselines"].items():
        measure, value = next(iter(baseline["metrics"].items()))
        print(f"baseline {name.replace('_', ' ')}: {measure} {value:.4f}")
    for line in found["warnings"]:
        print(f"warning: {line}")
    print(f"{found['rows']:,} rows judged in {found['seconds']:.1f} s")
    print(f"report: {output}/{REPORT}   numbers: {output}/{METRICS}")
    return found


def parse(argv: Sequence[str]) -> EvaluateRun:
    """Flags → what the run was asked for.

    Raises:
        UserError: the flags contradict one another.
    """
    parser = options.parser("evaluate", (__doc__ or "").splitlines()[0], EXAMPLE)
    add_flags(parser)
    args, beam_flags = parser.parse_known_args(argv)
    pairs = options.columns(args)
    bundle = find_bundle(args.model, args.input)
    return EvaluateRun(
        inputs=tuple(args.input),
        output=args.output.rstrip("/"),
        columns=find_columns(args, pairs, bundle),
        bundle=bundle,
        examples=args.examples.rstrip("/") if args.examples else None,
        train_inputs=tuple(args.train_input or ()),
        train_columns=PairColumns(*pairs.sides, args.train_label_column or args.label_column),
        worst=0 if args.redact else args.worst,
        resamples=args.resamples,
        shard_rows=args.shard_rows,
        overwrite=args.overwrite,
        beam_flags=tuple(beam_flags),
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of evaluation."""
    reading = parser.add_argument_group("input")
    reading.add_argument(
        "--input",
        nargs="+",
        action="extend",
        required=True,
        metavar="DIR",
        help="--output of pipelines.score, or Parquet files of scores; patterns in quotes",
    )
    for name, default, what in (
        ("sentence1_column", "sentence1", "first sentence"),
        ("sentence2_column", "sentence2", "second sentence"),
        ("label_column", "label", "the true label"),
        ("similarity_column", "similarity", "similarity"),
        ("similarity_label_column", "similarity_label", "label that scoring gave"),
    ):
        reading.add_argument(f"--{name}", default=default, help=what)
    reading.add_argument(
        "--threshold", type=float, help="label 1 from this similarity on, not as scoring said"
    )
    reading.add_argument("--shard_rows", type=options.positive, default=options.DEFAULT_SHARD_ROWS)
    meaning = parser.add_argument_group(
        "meaning", "what is not given, the bundle of the scores says"
    )
    meaning.add_argument("--model", metavar="BUNDLE", help="the bundle that scored")
    meaning.add_argument("--task", choices=("binary", "regression", "classes"))
    meaning.add_argument("--classes", nargs="+", help="class names, the similar one last")
    meaning.add_argument("--label_range", nargs=2, type=float, metavar=("MIN", "MAX"))
    more = parser.add_argument_group("what to tell")
    more.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    more.add_argument(
        "--slice_column", nargs="+", action="extend", default=[], help="measure each value apart"
    )
    more.add_argument("--train_input", nargs="+", metavar="GLOB", help="pairs it was trained on")
    more.add_argument("--train_label_column", help="their label (default: --label_column)")
    more.add_argument("--examples", metavar="DIR", help="examples: tells unknown tokens")
    more.add_argument("--worst", type=int, default=20, help="mistakes of each kind to show")
    more.add_argument("--redact", action="store_true", help="show no sentence")
    more.add_argument("--resamples", type=int, default=RESAMPLES, help="for the intervals")
    more.add_argument("--overwrite", action="store_true", help="replace a report in --output")


def main() -> int:
    """The command line."""
    return options.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
