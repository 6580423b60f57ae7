"""Trains recipes on real data, scores by the real pipelines and writes the table QUALITY.md.

make quality ARGS='--data ../shared/data --output out/quality --jobs twin-best.bq_train80k'

`--data` is a folder with the Parquet files that `quality_jobs` names. Without --jobs all of them
run, which takes hours on two cores. Each finished job leaves `result.json` in its folder under
--output, and the table holds all that are there; a job whose result is there is not run again, and
one that was stopped resumes from its checkpoint (its minutes are then those of the last part).
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.quality_jobs import GAIN, JOBS, KEPT, Job
from benchmarks.run import machine

TABLE = Path(__file__).parent / "QUALITY.md"
SIDES = ("sentence1", "sentence2")


def run_step(name: str, *flags: object) -> dict[str, float]:
    """Runs `python -m pipelines.NAME`; its seconds by the clock and by the processor."""
    command = [sys.executable, "-m", f"pipelines.{name}", *map(str, flags)]
    print(shlex.join(["python", *command[1:]]), flush=True)
    started, used = time.monotonic(), _processor()
    subprocess.run(command, check=True)
    return {"seconds": time.monotonic() - started, "processor": _processor() - used}


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    """The unordered pairs of a table."""
    rows = zip(*(table[side] for side in SIDES), strict=True)
    return {(a, b) if a <= b else (b, a) for a, b in rows}


def held_out(train: pd.DataFrame, others: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The training rows whose pair, either way round, is in none of the other tables."""
    measured = set().union(*(pairs(other) for other in others))
    rows = zip(*(train[side] for side in SIDES), strict=True)
    return train[[((a, b) if a <= b else (b, a)) not in measured for a, b in rows]]


def recipe_of(job: Job, teacher: Path | None = None) -> str:
    """The job's recipe as YAML, with what it says otherwise for this data, and its teacher."""
    from model.recipe.reading import load_recipe, parse_recipe

    values = load_recipe(job.recipe).model_dump()
    for part, other in job.parts.items():
        own = values[part] or {}
        another = "kind" in other and other["kind"] != own["kind"]
        values[part] = other if another else own | other
    if teacher is not None:
        values["distill"] = (values["distill"] or {}) | {"teacher": [str(teacher)]}
    return parse_recipe(values, source=job.name).to_yaml()


def measure(job: Job, scores: pd.DataFrame, metric: str | None = None) -> float:
    """The job's metric of scored rows that still have their label, or another one of them."""
    from scipy import stats
    from sklearn.metrics import roc_auc_score

    metric, labels = metric or job.metric, scores[job.label]
    if metric == "accuracy":
        return float(np.mean(scores["similarity_label"].astype(str) == labels.astype(str)))
    similarity = scores["similarity"]
    if metric == "roc_auc":
        return float(roc_auc_score(labels.astype(int), similarity))
    correlation = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    return float(correlation(similarity, pd.to_numeric(labels)).statistic)


def spearman(job: Job, scores: pd.DataFrame) -> float | None:
    """Spearman's correlation of the similarity with the label; None for names of classes."""
    numbers = pd.to_numeric(scores[job.label], errors="coerce")
    return None if numbers.isna().any() else measure(job, scores, "spearman")


def score(
    job: Job, data: Path, bundle: Path, output: Path
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Each measured file → the job's metric, and Spearman's correlation."""
    found, correlated = {}, {}
    for name in job.measured:
        for size in (None, job.dimensions) if job.dimensions else (None,):
            source = data / f"{name}.parquet"
            rows = (
                cosines(source, bundle)
                if job.by_vectors
                else score_file(source, bundle, output, size)
            )
            place = name if size is None else by_floats(name, size)
            found[place], correlated[place] = measure(job, rows), spearman(job, rows)
    return found, correlated


def score_file(source: Path, bundle: Path, output: Path, dimensions: int | None) -> pd.DataFrame:
    """The rows of a file as a bundle scores them, by all or by so many first floats."""
    target = output / (f"{source.stem}-{dimensions}" if dimensions else source.stem)
    fewer = ["--dimensions", dimensions] if dimensions else []
    run_step("score", "--input", source, "--model", bundle, "--output", target, *fewer)
    return pd.concat(map(pd.read_parquet, sorted(target.glob("*.parquet"))))


def cosines(source: Path, bundle: Path) -> pd.DataFrame:
    """The rows of a file, the cosine of the bundle's two vectors as their similarity."""
    import twinbeam

    rows, encode = pd.read_parquet(source), twinbeam.load(str(bundle)).encode
    left, right = (encode(rows[side]) for side in SIDES)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return rows.assign(similarity=np.sum(left * right, axis=1) / lengths)


def by_floats(name: str, size: int) -> str:
    """What the table calls a file that is scored by so many first floats."""
    return f"{name}, first {size} floats"


def baseline(job: Job, table: pd.DataFrame) -> float | None:
    """The accuracy of naming the most frequent class always."""
    shares = table[job.label].value_counts(normalize=True)
    return float(shares.iloc[0]) if job.metric == "accuracy" else None


def run_job(job: Job, data: Path, output: Path, epochs: int | None) -> dict:
    """Training pairs without the measured ones → examples → bundle → scores → the result.

    A job that was stopped resumes from its last checkpoint, unless its recipe is another by now.
    """
    if job.train is None:
        return run_untrained(job, data, output)
    tables = {name: pd.read_parquet(data / f"{name}.parquet") for name in job.measured}
    whole = pd.read_parquet(data / f"{job.train}.parquet")
    train = held_out(whole, list(tables.values()))
    teacher = output.parent / job.teacher / "bundle" if job.teacher else None
    recipe, text = output / "recipe.yaml", recipe_of(job, teacher)
    if recipe.is_file() and recipe.read_text(encoding="utf-8") != text:
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    examples, bundle = output / "examples", output / "bundle"
    if not (examples / "_SUCCESS").is_file():
        recipe.write_text(text, encoding="utf-8")
        whole_labels = {job.label: train[job.label].round().astype(int)} if job.rounded else {}
        train.assign(**whole_labels).to_parquet(output / "train.parquet")
        run_step(
            "preprocess", "--input", output / "train.parquet", "--recipe", recipe,
            "--label_column", job.label, "--output", examples, "--overwrite",
            "--measured_input", *(data / f"{name}.parquet" for name in job.measured),
        )  # fmt: skip
    cost = run_step(
        "train", "--examples", examples, "--output", bundle, "--overwrite",
        "--checkpoints", output / "checkpoints", *(["--epochs", epochs] if epochs else []),
    )  # fmt: skip
    kept = json.loads((bundle / "metrics.json").read_text())
    values, correlated = score(job, data, bundle, output / "scores")
    result = {
        "values": values,
        "spearman": correlated,
        "baselines": {name: baseline(job, table) for name, table in tables.items()},
        "rows": len(train),
        "left_out": len(whole) - len(train),
        "epochs": kept["epochs"],
        "best_epoch": kept["best_epoch"],
        **cost,
    }
    if job.untrained:
        result["untrained"] = use_untrained(job, data, output)[0]
    (output / "result.json").write_text(json.dumps(result, indent=1))
    return result


def use_untrained(
    job: Job, data: Path, output: Path
) -> tuple[dict[str, float], dict[str, float | None]]:
    """The job's metric and Spearman's correlation of its recipe's pre-trained model as it is."""
    (output / "untrained.yaml").write_text(recipe_of(job), encoding="utf-8")
    bundle = output / "untrained"
    run_step("train", "--recipe", output / "untrained.yaml", "--output", bundle, "--overwrite")
    return score(job, data, bundle, output / "untrained-scores")


def run_untrained(job: Job, data: Path, output: Path) -> dict:
    """The pre-trained model as it is → scores → the result."""
    output.mkdir(parents=True, exist_ok=True)
    tables = {name: pd.read_parquet(data / f"{name}.parquet") for name in job.measured}
    values, correlated = use_untrained(job, data, output)
    baselines = {name: baseline(job, table) for name, table in tables.items()}
    nothing = {"rows": 0, "epochs": 0, "seconds": 0.0, "processor": 0.0}
    result = {"values": values, "spearman": correlated, "baselines": baselines, **nothing}
    (output / "result.json").write_text(json.dumps(result, indent=1))
    return result


def rows_of(job: Job, result: dict) -> list[str]:
    """The table's rows of a finished job."""
    rows = []
    for name, value in result["values"].items():
        goal, plain = job.measured.get(name), result["baselines"].get(name)
        known = f"majority class {plain:.3f}" if plain is not None else ""
        if job.untrained:
            as_it_comes = result["untrained"][name]
            goal, known = as_it_comes + GAIN, f"off the shelf {as_it_comes:.4f}"
        if job.dimensions and name not in job.measured:
            goal = KEPT * result["values"][name.partition(",")[0]]
        reach = "" if goal is None else f"{goal:.4g}: {'yes' if value >= goal else '**no**'}"
        correlated = result.get("spearman", {}).get(name)
        rank = "" if correlated is None else f"{correlated:.4f}"
        source = f"{job.train}, {result['rows']:,}" if job.train else "nothing"
        spent = f"{result['seconds'] / 60:.1f} | {result['processor'] / 60:.1f}"
        recipe = f"`{job.recipe}` {job.variant}".strip()
        rows.append(
            f"| {recipe} | {source} | {name} | {job.metric} | {value:.4f} | {reach} | "
            f"{rank} | {known} | {result['epochs']} | {spent} |"
        )
    return rows


HEAD = """\
| recipe | trained on, pairs | measured on | metric | value | to reach | Spearman | without training | epochs | minutes to train | of processor |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""  # noqa: E501


def table(output: Path) -> str:
    """The table of all jobs whose result lies under the output folder."""
    rows = []
    for job in JOBS:
        path = output / job.name / "result.json"
        if path.is_file():
            rows += rows_of(job, json.loads(path.read_text()))
    return HEAD + "\n".join(rows) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the Parquet files")
    parser.add_argument("--output", type=Path, default=Path("out/quality"))
    parser.add_argument("--jobs", nargs="*", choices=[job.name for job in JOBS], metavar="JOB")
    parser.add_argument("--epochs", type=int, help="fewer than the recipes say, to try it out")
    parser.add_argument("--table", type=Path, default=TABLE)
    args = parser.parse_args()
    for job in JOBS:
        folder = args.output / job.name
        wanted = args.jobs is None or job.name in args.jobs
        if wanted and not (folder / "result.json").is_file():
            run_job(job, args.data, folder, args.epochs)
    text = table(args.output)
    notes = TABLE.with_name("QUALITY_NOTES.md")
    more = "\n" + notes.read_text(encoding="utf-8") if notes.is_file() else ""
    args.table.write_text(f"# Quality, as measured\n\n{machine()}\n\n{text}{more}")
    print(text)


if __name__ == "__main__":
    main()
