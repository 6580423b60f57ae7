"""Turns labelled Parquet of sentence pairs into examples to train on.

Local: twinbeam preprocess --input 'pairs/*.parquet' --recipe char-bilstm-manhattan \
--output examples
Dataflow: the same with --runner=DataflowRunner --project=… --region=… --temp_location=gs://…
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from model.recipe.checks import doubts
from model.recipe.needed_files import missing_files
from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.options import beam_interface, command_line
from pipelines.options.preprocess_options import PreprocessOptions, parse
from pipelines.running import same_run
from pipelines.running.progress import show_steps
from pipelines.running.run_graph import running
from pipelines.running.transform_graph import given_vocabulary, text_features
from pipelines.teachers import ask_teachers
from transforms.accounts.list_shards import ListShards, listing
from transforms.accounts.staging import Staging, claim_folder
from transforms.examples import folder
from transforms.examples.inferred_pairs import InferPairs, MeasuredPairs
from transforms.examples.label_check import check_labels
from transforms.examples.learn_vocabulary import LearnVocabulary
from transforms.examples.sentence_groups import HoldOutGroups
from transforms.examples.store_examples import StoreExamples
from transforms.examples.transform_pairs import TransformPairs
from transforms.input.shards import RejectedFile, Shard, plan, plan_shards
from transforms.quiet_tensorflow import import_tensorflow
from transforms.storage import files
from transforms.text.given_vocabulary import GivenVocabulary

INPUT_FILES = "input_files"  # what a bundle says that it was trained on
MOST_NAMED = 10_000
PACKAGES = ("apache-beam", "pyarrow", "tensorflow", "tensorflow-text", "tensorflow-transform")


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Preprocesses, and returns the manifest."""
    return preprocess(ask_teachers(parse(sys.argv[1:] if argv is None else argv)))


def preprocess(options: PreprocessOptions) -> dict[str, Any]:
    """Plans, learns the vocabulary, writes the examples, and commits.

    Raises:
        UserError: the input, the recipe, the output folder or a flag cannot be used.
        RunError: the run failed; nothing appears under --output.
    """
    started = time.time()
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(
        beam_options,
        step="preprocess",
        paths=[*options.inputs, options.output],
        accelerator=options.accelerator,
    )
    plan = plan_examples(options)
    if options.estimating.wanted:
        estimated = (options.estimating, "preprocess", plan.shards, beam_options)
        return asdict(estimate.print_estimate(*estimated))
    if is_done(options, plan):
        return print_result(options.output)
    print_plan(options, plan)
    identity = [plan.made_from]
    if jobs.adopt(beam_options, step="preprocess", output=options.output, identity=identity):
        manifest = files.join(options.output, folder.MANIFEST)
        same_run.check_made(manifest, same_run.MADE_FROM, plan.made_from)
        return print_result(options.output)
    with (
        claim_folder(options.output, overwrite=options.overwrite) as staging,
        graph_folder(staging.folder, beam_options) as graph,
        show_steps(staging.folder, len(plan.shards)),
    ):
        commit = plan.commit(options, staging, graph, started=started)
        run_pipeline(options, plan, commit, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_result(options.output)


@dataclass(frozen=True)
class ExamplesPlan:
    """What is read, and what the examples are made from.

    Attributes:
        vocabulary: what comes with the recipe's pre-trained model.
        shards: the units of work.
        rejected: files of the input that are left out.
        made_from: options and inputs, by which the same command again is known.
    """

    vocabulary: GivenVocabulary
    shards: tuple[Shard, ...]
    rejected: tuple[RejectedFile, ...]
    made_from: dict[str, Any]

    @property
    def rows(self) -> int:
        """Pairs of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def inputs(self) -> dict[str, str]:
        """The files that are read, and the fingerprint of each."""
        return {shard.source: shard.fingerprint for shard in self.shards}

    def commit(
        self, options: PreprocessOptions, staging: Staging, graph: str, *, started: float
    ) -> folder.CommitExamples:
        """The last step of the graph."""
        size = {"vocabulary_size": self.vocabulary.size} if self.vocabulary.size else {}
        return folder.CommitExamples(
            staging=staging,
            graph=graph,
            planned=self.rows,
            recipe=options.recipe.to_yaml(),
            header={
                "recipe": options.recipe.name,
                **size,
                "options": options.to_json(),
                "teachers": list(options.taught),
                same_run.MADE_FROM: self.made_from,
                INPUT_FILES: dict(list(self.inputs.items())[:MOST_NAMED]),
                "files_rejected": [asdict(file) for file in self.rejected],
                "versions": {name: version(name) for name in PACKAGES},
            },
            max_reject_fraction=options.max_reject_fraction,
            started=started,
        )


def plan_examples(options: PreprocessOptions) -> ExamplesPlan:
    """Finds the shards of the input, and checks all that can be checked before the run.

    Raises:
        UserError: the input, the recipe or the output folder cannot be used.
    """
    vocabulary = given_vocabulary(options.recipe)
    folder.check_ours(options.output)
    planned = plan(
        options.inputs,
        options.columns,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns,
        named_after_input=False,
    )
    command_line.print_left_out(planned.rejected)
    if options.columns.label is not None:
        check_labels(planned.shards[0], options.columns.label, options.recipe.label_rule)
    rows = sum(shard.rows for shard in planned.shards)
    made_from = same_run.made_from(
        {
            **{f"{part}_shards": n for part, n in options.file_counts(rows).items()},
            **options.to_json(),
            "recipe": options.recipe.to_yaml(),
        },
        {shard.source: shard.fingerprint for shard in planned.shards},
    )
    return ExamplesPlan(vocabulary, tuple(planned.shards), tuple(planned.rejected), made_from)


def is_done(options: PreprocessOptions, plan: ExamplesPlan) -> bool:
    """Whether the output folder holds these examples; says so.

    Raises:
        UserError: it holds others, and they may not be replaced.
    """
    there = folder.read_manifest(options.output)
    before = there.get(same_run.MADE_FROM)
    if same_run.is_done(options.output, before, plan.made_from, overwrite=options.overwrite):
        folder.check_rejects(there, options.max_reject_fraction, options.output)
        return True
    folder.check_free(options.output, overwrite=options.overwrite)
    return False


def print_plan(options: PreprocessOptions, plan: ExamplesPlan) -> None:
    """Says what is about to be done, and what of the recipe looks odd."""
    for doubt in doubts(options.recipe):
        print(f"recipe {options.recipe.name}: {doubt}", flush=True)
    for line in missing_files(options.recipe):
        print(f"recipe {options.recipe.name}, to be there for training: {line}", flush=True)
    print(f"{plan.rows:,} pairs in {len(plan.shards)} shards to preprocess", flush=True)


def run_pipeline(
    options: PreprocessOptions,
    plan: ExamplesPlan,
    commit: folder.CommitExamples,
    beam_options: PipelineOptions,
) -> None:
    """The graph: shards → vocabulary; shards and vocabulary → examples → the commit."""
    import_tensorflow()
    import tensorflow_transform.beam as tft_beam  # brings TensorFlow, seconds after a mistake

    features = text_features(options.recipe, plan.vocabulary)
    how, staging, scratch = options.reading, commit.staging.folder, commit.staging.scratch
    temp = files.join(commit.graph, files.TEMPORARY_FOLDER)
    with running(beam_options) as pipeline, tft_beam.Context(temp_dir=temp):
        shards = pipeline | "List" >> ListShards(listing(scratch, "given", plan.shards))
        held_out = held_out_groups(shards, options)
        graph, graph_written = shards | "Learn vocabulary" >> LearnVocabulary(
            how, features, staging, commit.graph, held_out
        )
        store = StoreExamples(
            folder=staging,
            files=options.file_counts(plan.rows),
            labels=how.labels,
            unknown_id=features.unknown_id,
        )
        infer = inferred_pairs(pipeline, options, scratch, rows=plan.rows)
        written, counts = shards | "Transform pairs" >> TransformPairs(
            how, graph, store, infer, held_out
        )
        _ = (
            pipeline
            | "Once" >> beam.Create([None])
            | "Commit"
            >> beam.Map(
                commit,
                graph_written=beam.pvalue.AsIter(graph_written),
                written=beam.pvalue.AsIter(written),
                counts=beam.pvalue.AsSingleton(counts),
            )
        )


def held_out_groups(shards: beam.PCollection, options: PreprocessOptions) -> Any:
    """The sentences that a split by groups holds out, as a side input; None of a split by pairs.

    All pairs must be known before the first is given to a part, so the shards are read for it.
    """
    if options.split.by != "groups":
        return None
    return beam.pvalue.AsSingleton(shards | "Hold out groups" >> HoldOutGroups(options.reading))


def inferred_pairs(
    pipeline: beam.Pipeline, options: PreprocessOptions, scratch: str, *, rows: int
) -> InferPairs | None:
    """What infers pairs from the training part, where the recipe wants it."""
    rounds = options.recipe.labels.transitive
    if not rounds:
        return None
    measured = measured_pairs(pipeline, options, scratch)
    return InferPairs(rounds, options.split, rows=rows, measured=measured)


def measured_pairs(pipeline: beam.Pipeline, options: PreprocessOptions, scratch: str) -> Any:
    """The pairs that must not be inferred, as a side input; None where no file is named."""
    if not options.measured_inputs:
        return None
    how = options.measured_reading
    shards = plan_shards(options.measured_inputs, how.columns, shard_rows=options.shard_rows)
    hashes = (
        pipeline
        | "List measured" >> ListShards(listing(scratch, "measured", shards))
        | "Measured" >> MeasuredPairs(how)
    )
    return beam.pvalue.AsSingleton(hashes)


@contextmanager
def graph_folder(staging: str, beam_options: PipelineOptions) -> Iterator[str]:
    """Where tf.Transform keeps its graph: in the staging folder, where workers can reach it.

    A local run that writes to object storage keeps it on this machine until the commit.
    """
    local_run = beam_options.view_as(StandardOptions).runner == beam_interface.LOCAL_RUNNER
    if files.is_local(staging) or not local_run:
        yield staging
        return
    with tempfile.TemporaryDirectory(prefix="twinbeam-") as folder:
        yield folder


def print_result(output: str) -> dict[str, Any]:
    """Says what was done and where it lies; returns the manifest."""
    manifest = files.read_json(files.join(output, folder.MANIFEST))
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in manifest["rejected_by_reason"].items())
    inferred = manifest["rows_inferred"]
    added = f"; {inferred:,} pairs that follow from these added to train" if inferred else ""
    if (agreement := manifest["inferred_agreement"]) is not None:
        added += f" ({agreement:.1%} of those that were there already are labelled so)"
    print(
        f"{manifest['rows_in']:,} rows in = {manifest['rows_train']:,} train + "
        f"{manifest['rows_eval']:,} eval + {manifest['rows_rejected']:,} rejected"
        f"{f' ({reasons})' if reasons else ''}{added}; vocabulary {manifest['vocabulary_size']:,}; "
        f"{manifest['seconds']:.1f} s, {manifest['pairs_per_second']:,.0f} pairs/s\n"
        f"examples: {output}/*.tfrecord.gz   manifest: {output}/{folder.MANIFEST}"
    )
    return manifest


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
