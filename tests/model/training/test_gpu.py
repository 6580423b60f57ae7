"""What only a GPU runs: cuDNN's recurrence, all GPUs of a machine, half precision that pays.

With GPUs: `make test ARGS="-n 0 tests/model/training/test_gpu.py"`. Elsewhere all but the
first are skipped.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.dataset.examples import open_examples
from model.network.forward import packed_forward
from model.network.siamese import build_siamese
from model.training.fitting import fit
from model.training.strategy import choose_strategy
from tests.model.tiny_examples import write_examples
from tests.model.training.test_fitting import Silent
from tests.model.training.test_precision import recipe

needs_gpu = pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU"), reason="this machine has no GPU"
)
IDS = (np.array([[2, 3, 4], [5, 0, 0]], "int32"), np.array([[2, 3, 0], [6, 7, 8]], "int32"))


def test_recurrent_layers_are_those_that_cudnn_has():
    # keras.io/api/layers/recurrent_layers/lstm: what the cuDNN kernel asks for
    siamese = build_siamese(recipe("bilstm"), vocabulary_size=20)
    found = [layer for layer in siamese.encoder.layers if layer.name.startswith("bilstm_")]
    assert len(found) == 2
    for layer in (side for each in found for side in (each.forward_layer, each.backward_layer)):
        config = layer.get_config()
        assert (config["activation"], config["recurrent_activation"]) == ("tanh", "sigmoid")
        assert (config["dropout"], config["recurrent_dropout"]) == (0, 0)
        assert config["use_bias"] and not config["unroll"] and layer.use_cudnn == "auto"


@needs_gpu
def test_cudnn_gives_what_the_packed_recurrence_gives():  # pragma: no cover - GPU only
    rules = recipe("bilstm")
    siamese = build_siamese(rules, vocabulary_size=20)
    network = tf.function(lambda ids: siamese.network(ids, training=False))
    graph = network.get_concrete_function(IDS).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    assert any("CudnnRNN" in node.op for node in nodes)
    with tf.device("CPU"):
        packed = packed_forward(siamese, rules)(tuple(map(tf.constant, IDS)), False)
    np.testing.assert_allclose(network(IDS), packed, atol=1e-4)


@needs_gpu
@pytest.mark.parametrize(
    "choice", [{}, {"precision": "mixed_bfloat16"}, {"xla": True}], ids=["float32", "mixed", "xla"]
)
@pytest.mark.parametrize("encoder", ["cnn", "bilstm"])
def test_it_learns_on_all_gpus_of_the_machine(tmp_path, encoder, choice):  # pragma: no cover
    if encoder == "bilstm" and choice.get("xla"):
        pytest.skip("recurrent encoders are not compiled")
    rules = recipe(encoder, **choice)
    examples = open_examples(str(write_examples(tmp_path / "examples", rules.to_yaml())))
    keras.utils.set_random_seed(5)
    placement = choose_strategy()
    assert "GPU" in placement.why or "mirrored" in placement.why
    with placement.strategy.scope():
        siamese = build_siamese(rules, vocabulary_size=examples.vocabulary_size)
    result = fit(siamese, rules, examples, placement=placement, reporter=Silent())
    losses = [record["loss"] for record in result.history]
    assert losses[-1] < losses[0] and len(result.evaluation.labels) == 50
