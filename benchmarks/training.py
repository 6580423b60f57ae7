"""Training speed: our loop, the article's way, the input alone, and two workers against one.

python -m benchmarks.training --examples out/bq/examples [--article_pairs 10240]

The article's way pads every sentence to the longest one and calls Keras's `Model.fit`. All ways
train the same network on the same pairs; each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from transforms.quiet import import_tensorflow

WAYS = ("ours", "article", "input", "one_core", "two_cores")


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

    from model.siamese import build_siamese

    keras.utils.set_random_seed(recipe.training.seed)
    vectors = None
    if recipe.embedding is not None and recipe.embedding.vectors is not None:
        shape = (examples.vocabulary_size, recipe.embedding.dimensions)
        vectors = np.random.default_rng(0).normal(0, 0.3, shape).astype(np.float32)
    with placement.strategy.scope() if placement else contextlib.nullcontext():
        return build_siamese(recipe, vocabulary_size=examples.vocabulary_size, vectors=vectors)


def run_ours(examples, recipe, pairs: int) -> dict[str, float]:
    """Epochs of our loop; the last one counts, as the first one also traces the graph."""
    from model.fitting import fit
    from model.reporter import Reporter
    from model.strategy import choose_strategy

    placement = choose_strategy()
    recipe = recipe.with_training(epochs=2)
    siamese = network(examples, recipe, placement)
    result = fit(siamese, recipe, examples, placement=placement, reporter=Reporter(silent=True))
    last = result.history[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"pairs": examples.train.total, "peak_memory_mb": peak}
    accuracies = {
        f"accuracy_{record['epoch']}": record["eval_accuracy"] for record in result.history
    }
    return found | accuracies | {name: last[name] for name in ("seconds", "pairs_per_second")}


def run_article(examples, recipe, pairs: int) -> dict[str, float]:
    """`Model.fit` on arrays padded to the longest sentence, and its accuracy on the eval part."""
    import keras
    import numpy as np

    from model.losses import make_loss
    from model.optimizers import make_optimizer
    from model.siamese import similarity

    train, held_out = (padded(part, examples) for part in (examples.train, examples.eval))
    train = [column[:pairs] for column in train] if pairs else train
    model, loss = network(examples, recipe).network, make_loss(recipe)
    model.compile(make_optimizer(recipe, 1), lambda y, output: keras.ops.mean(loss(y, output)))
    size = recipe.training.batch_size
    few = [column[:size] for column in train]
    model.fit(few[:2], few[2], batch_size=size, verbose=0)  # traces the graph
    started, used = time.perf_counter(), time.process_time()
    model.fit(train[:2], train[2], batch_size=size, epochs=1, verbose=0)
    found = measured(started, used, len(train[2]), width=train[0].shape[1])
    if not pairs:
        alike = similarity(recipe, model.predict(held_out[:2], batch_size=size, verbose=0))
        found["accuracy_1"] = float(np.mean((np.asarray(alike) >= 0.5) == held_out[2]))
    return found


def padded(part, examples):
    """Both sides' ids [n, longest] and the labels [n] of a part, as arrays."""
    import numpy as np

    from model.dataset import training_batches

    batches = training_batches(part.files, batch_size=512, seed=0, epoch=0, rows=part.rows)
    batches = list(batches.as_numpy_iterator())
    width = max(batch["ids1"].shape[1] for batch in batches)
    sides = [
        np.concatenate([np.pad(b[side], [(0, 0), (0, width - b[side].shape[1])]) for b in batches])
        for side in ("ids1", "ids2")
    ]
    labels = np.concatenate([batch["label"] for batch in batches])
    order = np.random.default_rng(0).permutation(len(labels))  # the batches are sorted by length
    return [sides[0][order], sides[1][order], labels[order]]


def run_input(examples, recipe, pairs: int) -> dict[str, float]:
    """Reading, parsing and bucketing without a model: the fourth of four epochs in a row."""
    from model.dataset import training_batches

    batches = training_batches(
        examples.train.files,
        batch_size=recipe.training.batch_size,
        seed=0,
        epoch=0,
        epochs=4,
        rows=examples.train.rows,
    )
    steps = -(-examples.train.total // recipe.training.batch_size)
    iterator = iter(batches)
    for _ in range(3 * steps):
        next(iterator)
    started, used = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(iterator)
    return measured(started, used, examples.train.total)


def start(way: str, args: argparse.Namespace, core: int | None = None, cluster: str = ""):
    """A process that runs one way and prints what it measured."""
    command = [sys.executable, "-m", "benchmarks.training", "--examples", args.examples]
    command += ["--way", way, "--article_pairs", str(args.article_pairs)]
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


def run_all(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All ways, one after the other."""
    found = {way: finish(start(way, args)) for way in ("ours", "article", "input")}
    found["one_core"] = finish(start("ours", args, core=0))
    both = [start("ours", args, core, config) for core, config in enumerate(clusters())]
    found["two_cores"], _ = (finish(process) for process in both)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", required=True)
    parser.add_argument("--article_pairs", type=int, default=0, help="0: a whole epoch")
    parser.add_argument("--way", choices=("ours", "article", "input"))
    args = parser.parse_args()
    if args.way:
        import_tensorflow()
        from model.examples import open_examples
        from model.recipe import load_recipe

        examples = open_examples(args.examples)
        recipe = load_recipe(examples.recipe_path)
        run = {"ours": run_ours, "article": run_article, "input": run_input}[args.way]
        print(json.dumps(run(examples, recipe, args.article_pairs)))
        return
    found = run_all(args)
    for way, numbers in found.items():
        print(f"{way:10} " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
    speed = {way: numbers["pairs_per_second"] for way, numbers in found.items()}
    print(f"ours / article: {speed['ours'] / speed['article']:.1f} times")
    print(f"input / ours: {speed['input'] / speed['ours']:.1f} times")
    print(f"two cores / one core: {speed['two_cores'] / speed['one_core']:.2f} times")


if __name__ == "__main__":
    main()
