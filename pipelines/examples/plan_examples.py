"""The plan of examples: what is read, and what decides them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from model.recipe.checks import doubts
from model.recipe.needed_files import missing_files
from pipelines.examples.transform_graph import given_vocabulary
from pipelines.running import run_inputs, same_run
from transforms.accounts.staging import Staging
from transforms.examples import folder
from transforms.examples.label_check import check_labels
from transforms.input.shards import RejectedFile, Shard
from transforms.text.given_vocabulary import GivenVocabulary

if TYPE_CHECKING:
    from pipelines.options.preprocess_options import PreprocessOptions


INPUT_FILES = "input_files"  # what a bundle says that it was trained on
MOST_NAMED = 10_000
PACKAGES = ("apache-beam", "pyarrow", "tensorflow", "tensorflow-text", "tensorflow-transform")


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
    planned = run_inputs.plan_input(
        options, options.inputs, options.columns, named_after_input=False
    )
    run_inputs.print_left_out(planned.rejected)
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


def is_made(options: PreprocessOptions, plan: ExamplesPlan) -> bool:
    """Whether the output folder holds these examples; says so.

    Raises:
        UserError: it holds others, and they may not be replaced.
    """
    manifest = folder.read_manifest(options.output)
    before = manifest.get(same_run.MADE_FROM)
    if same_run.is_done(options.output, before, plan.made_from, overwrite=options.overwrite):
        folder.check_rejects(manifest, options.max_reject_fraction, options.output)
        return True
    folder.check_free(options.output, overwrite=options.overwrite)
    return False


def print_examples_plan(options: PreprocessOptions, plan: ExamplesPlan) -> None:
    """Prints what is about to be done, and what looks wrong in the recipe."""
    for doubt in doubts(options.recipe):
        print(f"recipe {options.recipe.name}: {doubt}", flush=True)
    for line in missing_files(options.recipe):
        print(f"recipe {options.recipe.name}, to be there for training: {line}", flush=True)
    print(f"{plan.rows:,} pairs in {len(plan.shards)} shards to preprocess", flush=True)
