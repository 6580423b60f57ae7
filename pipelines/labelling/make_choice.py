"""Chooses pairs to label: the run, its graph and its last step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.dataflow import jobs
from pipelines.dataflow import settings as dataflow
from pipelines.labelling.choice_folder import CHOICE, PAGE, PAIRS, choice_is_there, print_choice
from pipelines.options import beam_interface
from pipelines.options.scored_inputs import MANIFEST, find_bundle, score_inputs
from pipelines.report.label_page import render_label_page
from pipelines.running import same_run
from pipelines.running.run_graph import running
from transforms.accounts.list_shards import Listing, ListShards, listing
from transforms.accounts.shard_account import SUCCESS, run_key
from transforms.accounts.staging import Staging, claim_folder
from transforms.columns import is_number
from transforms.errors import UserError
from transforms.input.shards import plan
from transforms.labelling.candidates import Candidates, ChoiceSettings
from transforms.labelling.choice import CHOSEN_FOR, RANDOM, choose
from transforms.labelling.choose_pairs import ChooseCandidates
from transforms.labelling.label_files import labelled_hashes
from transforms.storage import files

if TYPE_CHECKING:
    from pipelines.options.label_options import LabelOptions


def choose_pairs(options: LabelOptions) -> dict[str, Any]:
    """Plans, chooses, and writes the pairs and the page.

    Returns:
        The content of choice.json.

    Raises:
        UserError: the input, the output folder or a flag cannot be used.
    """
    beam_options = beam_interface.beam_options(options.beam_flags)
    dataflow.configure(beam_options, step="label", paths=options.paths())
    planned = plan(
        score_inputs(options.inputs),
        options.columns,
        shard_rows=options.shard_rows,
        on_bad_file=None,
        named_after_input=False,
    )
    check_choice_columns(planned.schemas, options)
    settings = choice_settings(options)
    fingerprints = [shard.fingerprint for shard in planned.shards]
    known = settings.labelled.tolist()
    key = run_key(fingerprints=fingerprints, known=known, **options.identity())
    if choice_is_there(options, key):
        print(f"{options.output} is complete already: same inputs and options")
        return print_choice(options.output)
    if jobs.adopt(beam_options, step="label", output=options.output, identity=[key]):
        same_run.check_made(files.join(options.output, CHOICE), "key", key)
        return print_choice(options.output)
    with claim_folder(options.output, overwrite=options.overwrite) as staging:
        scored = listing(staging.scratch, "scored", planned.shards)
        write = WriteChoice(options, staging, settings, key)
        run_choice(scored, settings, write, beam_options)
    return {} if dataflow.only_staged(beam_options) else print_choice(options.output)


def choice_settings(options: LabelOptions) -> ChoiceSettings:
    """What is chosen, once the labels before and the threshold are known."""
    return ChoiceSettings(
        pairs=options.pairs,
        random_pairs=round(options.pairs * options.random_share),
        columns=options.columns,
        similarities=options.similarities,
        threshold=bundle_threshold(options) if options.threshold is None else options.threshold,
        cluster=options.cluster,
        seed=options.seed,
        labelled=labelled_hashes(options.labelled, options.columns),
    )


def bundle_threshold(options: LabelOptions) -> float:
    """The threshold of the bundle that scored, or a half where that is not known."""
    bundle = find_bundle(None, options.inputs)
    found = files.read_json(files.join(bundle, MANIFEST)).get("threshold") if bundle else None
    return 0.5 if found is None else float(found)


def check_choice_columns(schemas: Mapping[str, pa.Schema], options: LabelOptions) -> None:
    """Checks that every file has the columns that a choice reads.

    Raises:
        UserError: names the file, the column and the flag.
    """
    wanted = [("--similarity_column", name, True) for name in options.similarities]
    wanted += [("--cluster_column", options.cluster, False)] if options.cluster else []
    for source, schema in schemas.items():
        for flag, name, numbers in wanted:
            if name not in schema.names:
                listed = ", ".join(schema.names[:12])
                raise UserError(
                    f"{source}: no column {name!r}; it has {listed}; name yours: {flag}"
                )
            kind = schema.field(name).type
            if numbers and not is_number(kind):
                raise UserError(f"{source}: column {name!r} is {kind}, expected numbers ({flag})")


def run_choice(
    scored: Listing,
    settings: ChoiceSettings,
    write: WriteChoice,
    beam_options: PipelineOptions,
) -> None:
    """The graph: shards → candidates → the choice and its page."""
    with running(beam_options) as pipeline:
        (
            pipeline
            | "List scored shards" >> ListShards(scored)
            | "Choose candidates" >> ChooseCandidates(settings)
            | "Write choice" >> beam.Map(write)
        )


@dataclass(frozen=True)
class WriteChoice:
    """The last step: chooses among the candidates, and makes the folder appear."""

    options: LabelOptions
    staging: Staging
    settings: ChoiceSettings
    key: str

    def __call__(self, candidates: Candidates) -> None:
        """Takes the candidates of all rows."""
        pairs = choose(candidates, self.settings)
        if not pairs.num_rows:
            reasons = ", ".join(f"{n:,} {why}" for why, n in candidates.skipped.items())
            raise UserError(f"no pair is left to label ({reasons or 'no rows'})")
        found = {
            "key": self.key,
            "pairs": pairs.num_rows,
            "random_pairs": pairs.column(CHOSEN_FOR).to_pylist().count(RANDOM),
            "rows_by_predicted": {str(name): n for name, n in sorted(candidates.rows.items())},
            "rows_skipped": dict(candidates.skipped),
            "threshold": self.settings.threshold,
            "options": self.options.identity(),
        }
        with tempfile.TemporaryDirectory(prefix="twinbeam-label-") as temporary:
            local = Path(temporary) / "choice"
            local.mkdir()
            pq.write_table(pairs, local / PAIRS, compression="zstd")
            (local / PAGE).write_text(render_label_page(pairs, self.key[:12]), encoding="utf-8")
            files.write_json(str(local / CHOICE), found)
            (local / SUCCESS).touch()
            self.staging.publish_copy(str(local), last=[SUCCESS], is_done=self._is_published)

    def _is_published(self) -> bool:
        done, path = (files.join(self.staging.output, name) for name in (SUCCESS, CHOICE))
        return files.exists(done) and files.read_json(path).get("key") == self.key
