"""Judges labelled scores: measures with intervals, slices, baselines, and a report to look at.

Local: twinbeam evaluate --input scores --label_column label --output report
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from model.scoring.unknown_tokens import LoadUnknown
from pipelines.dataflow import jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface, command_line
from pipelines.options.evaluate_options import EvaluateOptions, parse
from pipelines.options.scored_inputs import (
    check_columns,
    is_folder,
    lineage,
    score_inputs,
    score_range,
    with_id,
)
from pipelines.report.doubts_page import read_doubts
from pipelines.report.page import REPORT, write_report
from pipelines.report.png_plots import PLOTS
from pipelines.report.provenance import ROWS_TRAINED_ON
from pipelines.running import same_run, trained_on
from pipelines.running.run_graph import running
from transforms.accounts.list_shards import Listing, ListShards, listing
from transforms.accounts.output_folder import read_manifest
from transforms.accounts.shard_account import SUCCESS
from transforms.accounts.staging import Staging, claim_folder
from transforms.errors import UserError
from transforms.evaluation.evaluate_shards import (
    EvaluateShards,
    EvaluationCounts,
    EvaluationSettings,
)
from transforms.evaluation.metrics_json import results
from transforms.evaluation.sentence_priors import CountSentences
from transforms.examples.label_check import check_labels
from transforms.input.shards import plan, plan_shards
from transforms.storage import files

METRICS = "metrics.json"
PACKAGES = ("apache-beam", "pyarrow", "numpy")


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Evaluates, and returns the content of metrics.json."""
    return evaluate(parse(sys.argv[1:] if argv is None else argv))


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Plans, counts, measures, and writes the report.

    Raises:
        UserError: the input, the output folder or a flag cannot be used.
        RunError: the run failed; nothing appears under --output.
    """
    started = time.time()
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(beam_options, step="evaluate", paths=options.paths())
    names = check_ours(options.output)
    planned = plan(
        score_inputs(options.inputs),
        options.columns.pairs,
        shard_rows=options.shard_rows,
        on_bad_file=None,
        named_after_input=False,
    )
    shards = planned.shards
    options = replace(options, columns=with_id(options.columns, planned.schemas))
    check_columns(planned.schemas, options.columns)
    train_shards = []
    if options.train_inputs:
        train_shards = plan_shards(
            options.train_inputs, options.train_columns, shard_rows=options.shard_rows
        )
    doubted = read_doubts(options.doubts, options.worst) if options.doubts else None
    made_from = same_run.made_from(
        {**options.decisive(), **({"doubts": doubted["key"]} if doubted else {})},
        {shard.source: shard.fingerprint for shard in [*shards, *train_shards]},
    )
    before = files.read_json(files.join(options.output, METRICS)) if SUCCESS in names else {}
    done = before.get(same_run.MADE_FROM)
    if same_run.is_done(options.output, done, made_from, overwrite=options.overwrite):
        return print_report(options.output)
    check_replaceable(options.output, overwrite=options.overwrite)
    if shards and options.columns.pairs.label:
        check_labels(shards[0], options.columns.pairs.label, options.columns.labels)
    print(f"{sum(shard.rows for shard in shards):,} scored pairs to judge", flush=True)
    identity = [options.identity(), *(shard.fingerprint for shard in [*shards, *train_shards])]
    if jobs.adopt(beam_options, step="evaluate", output=options.output, identity=identity):
        metrics = files.join(options.output, METRICS)
        same_run.check_made(metrics, same_run.MADE_FROM, made_from)
        return print_report(options.output)
    settings = EvaluationSettings(
        options.columns, score_range(planned.schemas, options.columns), options.worst
    )
    origin = lineage(options.inputs, options.bundle, options.examples)
    if remembered := rows_remembered(options.inputs):
        origin[ROWS_TRAINED_ON] = remembered
        print(f"warning: {remembered:,} of them are from files that the bundle was trained on")
    with claim_folder(options.output, overwrite=options.overwrite) as staging:
        write = WriteEvaluation(options, staging, started, origin, made_from, doubted)
        scored = listing(staging.scratch, "scored", shards)
        training = listing(staging.scratch, "training", train_shards) if train_shards else None
        run_evaluation(options, scored, training, settings, write, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_report(options.output)


def run_evaluation(
    options: EvaluateOptions,
    scored: Listing,
    training: Listing | None,
    settings: EvaluationSettings,
    write: WriteEvaluation,
    beam_options: PipelineOptions,
) -> None:
    """The graph: training pairs → what sentences say; scored pairs → counts → the report."""
    labels = options.columns.labels
    load_unknown = LoadUnknown(options.examples) if options.examples else None
    with running(beam_options) as pipeline:
        priors = None
        if training is not None:
            counted = (
                pipeline
                | "List training shards" >> ListShards(training)
                | "Count training sentences" >> CountSentences(options.train_columns, labels)
            )
            priors = beam.pvalue.AsSingleton(counted)
        (
            pipeline
            | "List scored shards" >> ListShards(scored)
            | "Judge shards" >> EvaluateShards(settings, priors, load_unknown)
            | "Write report" >> beam.Map(write)
        )


@dataclass(frozen=True)
class WriteEvaluation:
    """The last step: measures, draws, and makes the folder appear. It runs in a worker."""

    options: EvaluateOptions
    staging: Staging
    started: float
    lineage: dict[str, Any]
    made_from: dict[str, Any] = field(default_factory=dict)
    doubted: dict[str, Any] | None = None

    def __call__(self, evaluation: EvaluationCounts) -> None:
        """Takes the counts of all rows."""
        columns = self.options.columns
        if self._is_published():
            return  # a runner may do a step twice
        if not evaluation.rows:
            reasons = ", ".join(f"{n} {why}" for why, n in evaluation.skipped.items())
            raise UserError(
                f"no row can be judged ({reasons or 'no rows'}); check --label_column, --classes"
            )
        found: dict[str, Any] = {"task": columns.task, "classes": list(columns.classes)}
        found |= results(evaluation, columns.classes, resamples=self.options.resamples)
        found |= {"doubts": self.doubted} if self.doubted else {}
        found |= {
            "lineage": self.lineage,
            same_run.MADE_FROM: self.made_from,
            "versions": {name: version(name) for name in PACKAGES},
            "started": self.started,
            "seconds": round(time.time() - self.started, 3),
        }
        with tempfile.TemporaryDirectory(prefix="twinbeam-report-") as temporary:
            local = Path(temporary) / "report"
            local.mkdir()
            files.write_json(str(local / METRICS), found)
            write_report(local, found, bundle=self.options.bundle)
            (local / SUCCESS).touch()
            self.staging.publish_copy(str(local), last=[SUCCESS], is_done=self._is_published)

    def _is_published(self) -> bool:
        done, path = (files.join(self.options.output, name) for name in (SUCCESS, METRICS))
        return files.exists(done) and files.read_json(path).get("started") == self.started


def rows_remembered(inputs: Sequence[str]) -> int:
    """How many rows of scoring runs come from files that their bundle was trained on."""
    folders = (pattern.rstrip("/") for pattern in inputs if is_folder(pattern))
    return sum(trained_on.rows_trained_on(read_manifest(folder)) for folder in folders)


def check_ours(output: str) -> list[str]:
    """Checks that the folder holds a report or nothing; returns the names of what it holds.

    Raises:
        UserError: it holds something else.
    """
    names = files.list_folder(output)
    foreign = [name for name in names if name not in (METRICS, REPORT, SUCCESS, *PLOTS)]
    if foreign:
        raise UserError(
            f"{output} holds {foreign[0]!r}, which evaluate did not write; choose a new folder"
        )
    return names


def check_replaceable(output: str, *, overwrite: bool) -> None:
    """Checks that the folder may be written: nothing there, or a report that may be replaced.

    Raises:
        UserError: it holds something else, or a report and no permission to replace it.
    """
    if check_ours(output) and not overwrite:
        raise UserError(
            f"{output} holds a report already; choose another folder, or give --overwrite"
        )


def print_report(output: str) -> dict[str, Any]:
    """Prints the result and where it is; returns the content of metrics.json."""
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


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
