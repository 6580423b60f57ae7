"""Training speed: our loop, the article's method, the input alone, and two workers against one.

python -m benchmarks.training --examples out/bq/examples [--only ours article]

The article's method pads every sentence to the longest one and calls Keras's `Model.fit`. All ways
train the same network on the same pairs; each runs in a process of its own. What is measured goes
to `benchmarks/training.json` at once, and `benchmarks/TRAINING.md` is made of all runs in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from model.recipe.reading import with_training
from transforms.quiet_tensorflow import import_tensorflow

RUNS = Path(__file__).with_name("training.json")
REPORT = Path(__file__).with_name("TRAINING.md")
WAYS = ("ours", "mixed", "article", "input", "cores", "accuracy")
DEFAULT_WAYS = ("ours", "mixed", "article", "input", "cores")
MIXED = {"length_noise": 0.5}  # how `mixed` differs from ours
HALF_STEP = 256  # pairs of a step that one of two workers handles


def measured(started: float, used: float, pairs: int, **more: float) -> dict[str, float]:
    """Pairs a second by the clock and by the processor, and peak memory."""
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    return {
        "pairs": pairs,
        "seconds": wall,
        "pairs_per_second": pairs / wall,
        "pairs_per_cpu_second": pairs / cpu,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **more,
    }


def network(examples, recipe, placement=None):
    """The recipe's network with random frozen vectors: speed does not depend on their values."""
    import contextlib

    import keras
    import numpy as np

    from model.network.siamese import build_siamese

    keras.utils.set_random_seed(recipe.training.seed)
    vectors = None
    if recipe.embedding is not None and recipe.embedding.vectors is not None:
        shape = (examples.vocabulary_size, recipe.embedding.dimensions)
        vectors = np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
    with placement.strategy.scope() if placement else contextlib.nullcontext():
        return build_siamese(recipe, vocabulary_size=examples.vocabulary_size, vectors=vectors)


def run_ours(examples, recipe, pairs: int, epochs: int = 2) -> dict[str, float]:
    """Epochs of our loop; the last one counts, as the first one also traces the graph."""
    from model.training.fitting import fit
    from model.training.reporter import Reporter
    from model.training.strategy import choose_strategy

    class Clock(Reporter):
        def begin_epoch(self, *_):
            self.began = time.process_time()

        def step(self, *_):
            self.cpu = time.process_time() - self.began

    placement, clock = choose_strategy(), Clock(silent=True)
    recipe = with_training(recipe, epochs=epochs)
    siamese = network(examples, recipe, placement)
    last = fit(siamese, recipe, examples, placement=placement, reporter=clock).history[-1]
    return {
        "pairs": examples.train.total,
        "seconds": last["seconds"],
        "pairs_per_second": last["pairs_per_second"],
        "pairs_per_cpu_second": examples.train.total / clock.cpu,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_article(examples, recipe, pairs: int) -> dict[str, float]:
    """`Model.fit` on arrays padded to the longest sentence: its speed, on some of the pairs."""
    model, train, _ = article(examples, recipe)
    size = recipe.training.batch_size
    few = [column[:size] for column in train]
    model.fit(few[:2], few[2], batch_size=size, verbose=0)  # traces the graph
    train = [column[:pairs] for column in train] if pairs else train
    started, used = time.perf_counter(), time.process_time()
    model.fit(train[:2], train[2], batch_size=size, epochs=1, verbose=0)
    return measured(started, used, len(train[2]), width=train[0].shape[1])


def article(examples, recipe):
    """The compiled network, and both parts as padded arrays."""
    import keras

    from model.network.losses import make_loss
    from model.training.optimizers import make_optimizer

    train, held_out = (padded(part, examples) for part in (examples.train, examples.eval))
    model, loss = network(examples, recipe).network, make_loss(recipe)
    model.compile(make_optimizer(recipe, 1), lambda y, output: keras.ops.mean(loss(y, output)))
    return model, train, held_out


def run_accuracy(examples, recipe, epochs: int, files: int) -> dict[str, Any]:
    """Eval accuracy after each epoch over so many training files: ours, mixed, and the article's.

    The article's batches are padded to their own longest sentence here. What is padded is masked,
    so the accuracy is the same, and comes sooner.
    """
    import numpy as np

    from model.dataset.examples import ExampleSet
    from model.network.siamese import similarity
    from model.training.evaluation import EvaluatedPairs, quality
    from model.training.fitting import fit
    from model.training.reporter import Reporter
    from model.training.strategy import choose_strategy

    recipe, placement = with_training(recipe, epochs=epochs), choose_strategy()
    part = ExampleSet(examples.train.files[:files], examples.train.rows[:files])
    examples = replace(examples, train=part)
    found: dict[str, Any] = {"pairs": part.total, "seed": recipe.training.seed}
    for way, values in (("ours", {}), ("mixed", MIXED)):
        varied = with_training(recipe, **values)
        siamese, silent = network(examples, varied, placement), Reporter(silent=True)
        history = fit(siamese, varied, examples, placement=placement, reporter=silent).history
        found[way] = [record["eval_accuracy"] for record in history]
        print(json.dumps(found), file=sys.stderr, flush=True)
    model, train, held_out = article(examples, recipe)
    size, order = recipe.training.batch_size, np.random.default_rng(recipe.training.seed)
    found["article"] = []
    for _ in range(epochs):
        for rows in np.split(order.permutation(len(train[2])), _cuts(len(train[2]), size)):
            model.train_on_batch(*_narrow(train, rows))
        rows = np.arange(len(held_out[2]))
        outputs = [
            model.predict_on_batch(_narrow(held_out, each)[0])
            for each in np.split(rows, _cuts(len(rows), size))
        ]
        output = np.concatenate(outputs)
        similarities = similarity(recipe, output).numpy()
        found["article"].append(quality(recipe, EvaluatedPairs(held_out[2], similarities, 0.0)))
        print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def _cuts(rows: int, size: int) -> range:
    """Where batches begin, but the first."""
    return range(size, rows, size)


def _narrow(part, rows):
    """Both sides and the labels of some rows, without columns that are padding in all of them."""
    sides = [side[rows] for side in part[:2]]
    width = max(int((side > 0).sum(axis=1).max()) for side in sides)
    width = -(-width // 8) * 8  # few distinct widths: each is a graph of its own
    return [side[:, :width] for side in sides], part[2][rows]


def padded(part, examples):
    """Both sides' ids [n, longest] and the labels [n] of a part, as arrays."""
    import numpy as np

    from model.dataset.batch_plan import EpochOrder, Records
    from model.dataset.batches import training_batches

    records = Records(part.files, part.rows)
    batches = training_batches(records, batch_size=512, order=EpochOrder(0))
    batches = list(batches.as_numpy_iterator())
    width = max(batch["ids1"].shape[1] for batch in batches)
    sides = [
        np.concatenate([np.pad(b[side], [(0, 0), (0, width - b[side].shape[1])]) for b in batches])
        for side in ("ids1", "ids2")
    ]
    labels = np.concatenate([batch["label"] for batch in batches])
    order = np.random.default_rng(0).permutation(len(labels))  # the batches are sorted by length
    return [sides[0][order], sides[1][order], labels[order]]


def run_input(examples, recipe, pairs: int, epochs: int = 20) -> dict[str, float]:
    """Reading, parsing and bucketing without a model: many epochs in a row, after a first one."""
    from model.dataset.batch_plan import EpochOrder
    from model.dataset.batches import training_batches

    size = recipe.training.batch_size
    steps = -(-examples.train.total // size)
    batches = training_batches(
        examples.train.records(recipe),
        batch_size=size,
        order=EpochOrder(0),
        epochs=range(1 + epochs),
    )
    iterator = iter(batches)
    for _ in range(steps):
        next(iterator)
    started, used = time.perf_counter(), time.process_time()
    for _ in range(epochs * steps):
        next(iterator)
    return measured(started, used, epochs * examples.train.total)


def start(
    way: str,
    args: argparse.Namespace,
    core: int | None = None,
    cluster: str = "",
    step: int = 0,
    seed: int | None = None,
):
    """A process that runs one way, in steps of so many pairs, and prints what it measured."""
    command = [sys.executable, "-m", "benchmarks.training", "--examples", args.examples]
    command += ["--way", way, "--article_pairs", str(args.article_pairs)]
    command += ["--epochs", str(args.epochs), "--files", str(args.files)]
    command += ["--step", str(step)] if step else []
    command += ["--seeds", str(seed)] if seed is not None else []
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"} | (
        {"TF_CONFIG": cluster} if cluster else {}
    )
    return subprocess.Popen([*pinned, *command], env=environ, stdout=subprocess.PIPE, text=True)


def finish(process) -> dict[str, float]:
    """What a process measured."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a benchmark failed: {' '.join(process.args)}")
    return json.loads(out.splitlines()[-1])


def clusters() -> Iterator[str]:
    """TF_CONFIG of two workers on loopback."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in held]
    for each in held:
        each.close()
    for index in range(2):
        task = {"type": "worker", "index": index}
        yield json.dumps({"cluster": {"worker": hosts}, "task": task})


def run_way(way: str, args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """One way's names and figures; `cores` are one process on one core, and two on one each."""
    if way == "accuracy":
        for seed in args.seeds:
            yield way, finish(start(way, args, seed=seed))
        return
    if way != "cores":
        yield way, finish(start(way, args))
        return
    yield "one_core", finish(start("ours", args, core=0))
    first, second = at_once(args, list(clusters()))
    used = sum(1 / each["pairs_per_cpu_second"] for each in (first, second))
    yield "two_cores", first | {"pairs_per_cpu_second": 1 / used}
    first, second = at_once(args, ["", ""], HALF_STEP)
    together = {name: first[name] + second[name] for name in ("pairs", "pairs_per_second")}
    yield "two_apart", first | together


def at_once(args: argparse.Namespace, configs: list[str], step: int = 0) -> list[dict[str, float]]:
    """Our loop in processes that run at the same time, each pinned to its own core."""
    processes = [start("ours", args, core, config, step) for core, config in enumerate(configs)]
    return [finish(process) for process in processes]


def report(runs: dict[str, list[dict]]) -> str:
    """The page: the fastest run of each way, since other work can only slow a run down."""
    best = {
        way: max(found, key=lambda run: run["pairs_per_second"])
        for way, found in runs.items()
        if way in TITLES and found
    }
    lines = [HEAD, "| method | pairs/s | pairs per CPU second | pairs timed | runs | MB |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for way, title in TITLES.items():
        if way in best:
            run = best[way]
            lines.append(
                f"| {title} | {run['pairs_per_second']:,.0f} | {run['pairs_per_cpu_second']:,.0f} "
                f"| {run['pairs']:,} | {len(runs[way])} | {run['peak_memory_mb']:,.0f} |"
            )
    lines.append("\n| ratio | wanted | measured | reached |\n| --- | --- | --- | --- |")
    for over, under, title, wanted in RATIOS:
        if over in best and under in best:
            ratio = best[over]["pairs_per_second"] / best[under]["pairs_per_second"]
            reached = ("yes" if ratio >= wanted else "no") if wanted else ""
            lines.append(f"| {title} | {wanted or ''} | **{ratio:.2f}** | {reached} |")
    return "\n".join([*lines, *accuracy_table(runs.get("accuracy", []))]) + "\n"


def accuracy_table(found: list[dict]) -> Iterator[str]:
    """Each method's mean accuracy over the seeds, with the standard deviation."""
    if not found:
        return
    seeds = ", ".join(str(run["seed"]) for run in found)
    yield (
        "\nAccuracy on the evaluation part after epochs over "
        f"{found[0]['pairs']:,} pairs, mean and standard deviation of {len(found)} runs "
        f"(seeds {seeds}). Here the article's batches are padded only to their own longest "
        "sentence: padding is masked, so the result is the same, sooner.\n"
    )
    epochs = len(found[0]["article"])
    yield "| epoch | " + " | ".join(map(str, range(1, epochs + 1))) + " |"
    yield "| --- " * (epochs + 1) + "|"
    for way in ("ours", "mixed", "article"):
        values = [[run[way][epoch] for run in found] for epoch in range(epochs)]
        cells = (f"{mean(starts):.4f} ± {pstdev(starts):.4f}" for starts in values)
        yield f"| {TITLES[way]} | " + " | ".join(cells) + " |"


TITLES = {
    "ours": "ours",
    "mixed": "ours, lengths mixed: `length_noise: 0.5`",
    "article": "the article's: padded to the longest sentence, `Model.fit`",
    "input": "our input alone",
    "one_core": "ours, one worker on one core",
    "two_cores": "ours, two workers on one core each",
    "two_apart": f"two independent trainings, steps of {HALF_STEP} pairs, one core each",
}
RATIOS = (
    ("ours", "article", "ours to the article's method", 8),
    ("mixed", "article", "ours, lengths mixed, to the article's method", 8),
    ("input", "ours", "input alone to training", 10),
    ("two_cores", "one_core", "two workers to one", 1.7),
    ("two_apart", "one_core", "two independent trainings to one: the limit of the machine", 0),
)
HEAD = f"""# Training speed

One epoch of `char-bilstm-manhattan` on 72,087 pairs of BQ. Made by

    python -m benchmarks.training --examples out/bq/examples

on {os.cpu_count()} cores ({platform.machine()}), TensorFlow {version("tensorflow")},
Keras {version("keras")}. Each method runs in its own process, one after the other. Of several
runs the fastest counts, since other work on the machine can only slow a run down.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", required=True)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=DEFAULT_WAYS)
    parser.add_argument("--article_pairs", type=int, default=5120, help="0: a whole epoch")
    parser.add_argument("--epochs", type=int, default=2, help="of accuracy; of ours, to warm up")
    parser.add_argument("--files", type=int, default=4, help="training files of accuracy, of 16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="of accuracy")
    parser.add_argument("--step", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        import_tensorflow()
        from model.dataset.examples import open_examples
        from model.recipe.reading import load_recipe

        examples = open_examples(args.examples)
        recipe = with_training(load_recipe(examples.recipe_path), batch_size=args.step)
        if args.way == "accuracy":
            recipe = with_training(recipe, seed=args.seeds[0])
            print(json.dumps(run_accuracy(examples, recipe, args.epochs, args.files)))
            return
        if args.way == "mixed":
            recipe = with_training(recipe, **MIXED)
        run = {"ours": run_ours, "mixed": run_ours, "article": run_article, "input": run_input}[
            args.way
        ]
        print(json.dumps(run(examples, recipe, args.article_pairs)))
        return
    for way in args.only:
        for name, figures in run_way(way, args):
            runs = json.loads(RUNS.read_text()) if RUNS.exists() else {}
            runs.setdefault(name, []).append(figures)
            RUNS.write_text(json.dumps(runs, indent=1) + "\n")
            REPORT.write_text(report(runs))
            print(name, json.dumps(figures), flush=True)
    print(REPORT.read_text())


if __name__ == "__main__":
    main()
