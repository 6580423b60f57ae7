"""Makes examples: the run, its graph, and what it prints."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipelines.dataflow import estimate, jobs
from pipelines.dataflow import settings as dataflow
from pipelines.examples.plan_examples import (
    ExamplesPlan,
    is_made,
    plan_examples,
    print_examples_plan,
)
from pipelines.examples.transform_graph import text_features
from pipelines.options import beam_interface
from pipelines.running import same_run
from pipelines.running.progress import show_steps
from pipelines.running.run_graph import commit_once, running
from transforms.accounts.list_shards import ListShards, listing
from transforms.accounts.staging import claim_folder
from transforms.examples import folder
from transforms.examples.inferred_pairs import InferPairs, MeasuredPairs
from transforms.examples.learn_vocabulary import LearnVocabulary
from transforms.examples.sentence_groups import HoldOutGroups
from transforms.examples.store_examples import StoreExamples
from transforms.examples.transform_pairs import TransformPairs
from transforms.input.shards import plan_shards
from transforms.quiet_tensorflow import import_tensorflow
from transforms.storage import files
from transforms.storage.local import PlainName

if TYPE_CHECKING:
    from pipelines.options.preprocess_options import PreprocessOptions


def make_examples(options: PreprocessOptions) -> dict[str, Any]:
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
    if is_made(options, plan):
        return print_examples(options.output)
    print_examples_plan(options, plan)
    identity = [plan.made_from]
    if jobs.adopt(beam_options, step="preprocess", output=options.output, identity=identity):
        manifest = files.join(options.output, folder.MANIFEST)
        same_run.check_made(manifest, same_run.MADE_FROM, plan.made_from)
        return print_examples(options.output)
    with (
        claim_folder(options.output, overwrite=options.overwrite) as staging,
        graph_folder(staging.folder, beam_options) as graph,
        show_steps(staging.folder, len(plan.shards)),
    ):
        commit = plan.commit(options, staging, graph, started=started)
        run_preprocessing(options, plan, commit, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_examples(options.output)


def run_preprocessing(
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
    temporary = files.join(commit.graph, files.TEMPORARY_FOLDER)
    # TensorFlow reads there what tf.Transform keeps between its phases.
    local = files.is_local(temporary)
    named = PlainName(temporary, create=True) if local else nullcontext(temporary)
    with (
        named as temp,
        running(beam_options) as pipeline,
        tft_beam.Context(temp_dir=temp),
    ):
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
        commit_once(
            pipeline,
            commit,
            graph_written=beam.pvalue.AsIter(graph_written),
            written=beam.pvalue.AsIter(written),
            counts=beam.pvalue.AsSingleton(counts),
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


def print_examples(output: str) -> dict[str, Any]:
    """Prints the result and where it is; returns the manifest."""
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
