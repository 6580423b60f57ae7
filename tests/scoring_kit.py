"""What the tests of scoring share: a model without TensorFlow, and the real command around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.scoring.scorer_options import ScorerOptions
from pipelines import score
from pipelines.options import command_line

FIELDS = (pa.field("similarity", pa.float32()), pa.field("similarity_label", pa.int64()))


class EqualScorer:
    """Similarity 1 where both sentences are the same, else 0."""

    fields = FIELDS

    def score(self, side1: pa.Array, side2: pa.Array) -> tuple[list[pa.Array], dict[str, int]]:
        similarity = pc.equal(side1, side2).cast(pa.float32())
        counts = {"sentences": 2 * len(side1), "sentences_encoded": 2 * len(side1)}
        return [similarity, similarity.cast(pa.int64())], counts


@dataclass(frozen=True)
class EqualBundle:
    """In place of `BundleScorer`; the bundle's path is its fingerprint."""

    bundle: str
    options: ScorerOptions = field(default_factory=ScorerOptions)

    def verify(self) -> dict[str, object]:
        return {"fingerprint": self.bundle, "dimensions": 2}

    def fields(self, manifest: dict[str, object]) -> tuple[pa.Field, ...]:
        names = self.options.similarity_column, self.options.label_column
        return tuple(field.with_name(name) for field, name in zip(FIELDS, names, strict=True))

    def load(self) -> EqualScorer:
        return EqualScorer()


def run_score(inputs: str | Path, output: str | Path, *flags: str, model: str = "bundle") -> dict:
    """Runs the command in this process, with the bundle that was put in place."""
    return score.run(
        ["--input", str(inputs), "--output", str(output), "--model", model, *map(str, flags)]
    )


def exit_code(inputs: str | Path, output: str | Path, *flags: str, model: str = "bundle") -> int:
    """The exit code of the command; its one line goes to stderr."""
    return command_line.run_main(lambda: run_score(inputs, output, *flags, model=model))


def pairs(count: int, **more: Sequence) -> pa.Table:
    """A table of so many pairs, every third of the same sentences."""
    left = [f"question {row}" for row in range(count)]
    right = [text if row % 3 == 0 else f"other {row}" for row, text in enumerate(left)]
    sides = {"sentence1": pa.array(left, pa.string()), "sentence2": pa.array(right, pa.string())}
    return pa.table({"id": pa.array(range(count), pa.int64()), **sides, **more})


def write(path: Path, table: pa.Table, **how: object) -> Path:
    """Writes a table as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **how)
    return path


def read_parts(output: Path, stem: str, folder: str = "") -> pa.Table | None:
    """All rows that a run wrote for one input file, in order; None where there is no file."""
    paths = sorted(path for path in (output / folder).glob("*.parquet*") if _stem(path) == stem)
    return pa.concat_tables([pq.read_table(path) for path in paths]) if paths else None


def _stem(path: Path) -> str:
    return path.name.rsplit("-", 3)[0]
