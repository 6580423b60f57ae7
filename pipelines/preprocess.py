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
from dataclasses import asdict
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
from transforms.examples import folder
from transforms.examples.counts import COUNTS, INFERRED, add_up
from transforms.examples.inferred_pairs import InferPairs, MeasuredPairs
from transforms.examples.label_check import check_labels
from transforms.examples.read_pairs import ReadPairs, ReadTrainingPairs
from transforms.examples.records import EVAL, PARTS, TRAIN, raw_schema, tensor_adapter_config
from transforms.examples.sentence_groups import HoldOutGroups
from transforms.examples.store_examples import StoreExamples
from transforms.input.shards import Shard, plan, plan_shards
from transforms.quiet_tensorflow import import_tensorflow
from transforms.storage import files
from transforms.storage.lock import lock
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
    vocabulary = given_vocabulary(options.recipe)
    names = folder.check_ours(options.output)
    planned = plan(
        options.inputs,
        options.columns,
        shard_rows=options.shard_rows,
        on_bad_file=options.on_bad_file,
        int96=options.int96,
        partition_columns=options.partition_columns,
    )
    shards = planned.shards
    command_line.print_left_out(planned.rejected)
    if options.columns.label is not None:
        check_labels(shards[0], options.columns.label, options.recipe.label_rule)
    if options.estimating.wanted:
        return asdict(
            estimate.print_estimate(options.estimating, "preprocess", shards, beam_options)
        )
    wanted = {
        "train_shards": options.train_shards,
        "eval_shards": options.eval_shards,
        **options.to_json(),
    }
    inputs = {shard.source: shard.fingerprint for shard in shards}
    made_from = same_run.made_from({**wanted, "recipe": options.recipe.to_yaml()}, inputs)
    before = folder.read_manifest(options.output).get(same_run.MADE_FROM) if names else None
    if same_run.is_done(options.output, before, made_from, overwrite=options.overwrite):
        return print_result(options.output)
    folder.check_free(options.output, overwrite=options.overwrite)
    rows = sum(shard.rows for shard in shards)
    for doubt in doubts(options.recipe):
        print(f"recipe {options.recipe.name}: {doubt}", flush=True)
    for line in missing_files(options.recipe):
        print(f"recipe {options.recipe.name}, to be there for training: {line}", flush=True)
    print(f"{rows:,} pairs in {len(shards)} shards to preprocess", flush=True)
    identity = [options.recipe.to_yaml(), wanted, *(shard.fingerprint for shard in shards)]
    if jobs.adopt(beam_options, step="preprocess", output=options.output, identity=identity):
        return print_result(options.output)
    staging = folder.staging_folder(options.output)
    busy = (
        f"{options.output} is being written by another run; wait for it, or choose another folder"
    )
    with lock(f"{staging}.lock", busy=busy), graph_folder(staging, beam_options) as graph:
        files.delete_folder(staging)
        commit = folder.CommitExamples(
            staging=staging,
            graph=graph,
            output=options.output,
            planned=rows,
            recipe=options.recipe.to_yaml(),
            header={
                "recipe": options.recipe.name,
                **({"vocabulary_size": vocabulary.size} if vocabulary.size else {}),
                "options": options.to_json(),
                "teachers": list(options.taught),
                same_run.MADE_FROM: made_from,
                INPUT_FILES: dict(list(inputs.items())[:MOST_NAMED]),
                "files_rejected": [asdict(file) for file in planned.rejected],
                "versions": {name: version(name) for name in PACKAGES},
            },
            max_reject_fraction=options.max_reject_fraction,
            started=started,
            overwrite=options.overwrite,
        )
        with show_steps(staging, len(shards)):
            run_pipeline(options, vocabulary, shards, commit, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_result(options.output)


def run_pipeline(
    options: PreprocessOptions,
    vocabulary: GivenVocabulary,
    shards: Sequence[Shard],
    commit: folder.CommitExamples,
    beam_options: PipelineOptions,
) -> None:
    """The graph: shards → vocabulary; shards and vocabulary → examples → the commit.

    The shards are read twice, once to learn and once to transform: reading costs little, and
    keeping the rows between the two would cost memory as large as the input. A split by groups
    must know all pairs before the first is dealt to a part, and reads them a third time.
    """
    import_tensorflow()
    import tensorflow_transform.beam as tft_beam  # brings TensorFlow, seconds after a mistake

    features = text_features(options.recipe, vocabulary)
    raw = tensor_adapter_config(raw_schema(options.columns))
    temp = files.join(commit.graph, files.TEMPORARY_FOLDER)
    with running(beam_options) as pipeline, tft_beam.Context(temp_dir=temp):
        known = {}
        if options.split.by == "groups":
            held_out = (
                pipeline
                | "List shards to group" >> beam.Create(list(shards))
                | "Spread shards to group" >> beam.Reshuffle()
                | "Hold out groups" >> HoldOutGroups(options.reading)
            )
            known = {"held_out": beam.pvalue.AsSingleton(held_out)}
        training = (
            pipeline
            | "List shards to learn from" >> beam.Create(list(shards))
            | "Spread shards to learn from" >> beam.Reshuffle()
            | "Read training pairs"
            >> beam.ParDo(ReadTrainingPairs(options.reading, commit.staging), **known)
        )
        graph = (training, raw) | "Learn vocabulary" >> tft_beam.AnalyzeDataset(features)
        graph_written = graph | "Write graph" >> tft_beam.WriteTransformFn(commit.graph)
        pairs = (
            pipeline
            | "List shards" >> beam.Create(list(shards))
            | "Spread shards" >> beam.Reshuffle()
            | "Read pairs"
            >> beam.ParDo(ReadPairs(options.reading, commit.staging), **known).with_outputs(
                *PARTS, COUNTS
            )
        )
        raw_pairs, counted = {part: pairs[part] for part in PARTS}, [pairs[COUNTS]]
        if rounds := options.recipe.labels.transitive:
            infer = InferPairs(
                rounds,
                options.split,
                rows=sum(shard.rows for shard in shards),
                measured=measured_pairs(pipeline, options),
            )
            raw_pairs[INFERRED], inferred = pairs[TRAIN] | "Infer pairs" >> infer
            counted.append(inferred)
        transformed = {
            name: ((rows, raw), graph)
            | f"Transform {name}" >> tft_beam.TransformDataset(output_record_batches=True)
            for name, rows in raw_pairs.items()
        }
        written, counts = {name: rows for name, (rows, _) in transformed.items()} | StoreExamples(
            folder=commit.staging,
            files={TRAIN: options.train_shards, EVAL: options.eval_shards},
            labels=options.reading.labels,
            unknown_id=features.unknown_id,
        )
        total = (
            (counts, *counted)
            | "Join all counts" >> beam.Flatten()
            | "Add up" >> beam.CombineGlobally(add_up)
        )
        (
            pipeline
            | "Once" >> beam.Create([None])
            | "Commit"
            >> beam.Map(
                commit,
                graph_written=beam.pvalue.AsIter(graph_written),
                written=beam.pvalue.AsIter(written),
                counts=beam.pvalue.AsSingleton(total),
            )
        )


def measured_pairs(pipeline: beam.Pipeline, options: PreprocessOptions) -> Any:
    """The pairs that must not be inferred, as a side input; None where no file is named."""
    if not options.measured_inputs:
        return None
    how = options.measured_reading
    shards = plan_shards(options.measured_inputs, how.columns, shard_rows=options.shard_rows)
    hashes = (
        pipeline | "List measured shards" >> beam.Create(shards) | "Measured" >> MeasuredPairs(how)
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
