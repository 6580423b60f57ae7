"""Bundles of untrained tiny networks over a real transform graph, made in a few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from model.bundle.export import export_bundle
from model.network.siamese import Siamese, build_siamese
from model.recipe.recipe import Recipe
from transforms.accounts.staging import stage
from transforms.text.features import TextFeatures

SENTENCES = ["如何还款", "怎么还款？", "借不到", "How do I pay", "你好", "借"]
VOCABULARY_SIZE = 200  # more than the graph's: ids in use never reach it


def write_graph(folder: Path, **text: Any) -> Path:
    """A folder with a transform graph whose vocabulary are the tokens of `SENTENCES`."""
    raw = [{"sentence1": s, "sentence2": s, "label": 1.0} for s in SENTENCES]
    schema = schema_utils.schema_from_feature_spec(
        {
            "sentence1": tf.io.FixedLenFeature([], tf.string),
            "sentence2": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.float32),
        }
    )
    metadata = dataset_metadata.DatasetMetadata(schema)
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        graph = (raw, metadata) | tft_beam.AnalyzeDataset(TextFeatures(**text))
        graph | tft_beam.WriteTransformFn(str(folder))
    return folder


def build(recipe: Recipe, *, seed: int = 1) -> Siamese:
    """A network with weights large enough to tell sentences apart."""
    keras.utils.set_random_seed(seed)
    siamese = build_siamese(recipe, vocabulary_size=VOCABULARY_SIZE)
    rng = np.random.default_rng(seed)
    for weight in siamese.network.trainable_variables:
        weight.assign(rng.normal(0, 0.4, weight.shape))
    return siamese


def export(folder: Path, siamese: Siamese, recipe: Recipe, graph: Path, **changes: Any) -> str:
    """A bundle in `folder`; its path."""
    given = {"threshold": 0.25, "metrics": {"eval_accuracy": 0.75, "vocabulary_size": 200}}
    given |= {"overwrite": False} | changes
    staging = stage(str(folder), overwrite=given.pop("overwrite"))
    export_bundle(staging, siamese=siamese, recipe=recipe, examples_dir=str(graph), **given)
    return str(folder)


def ids_of(graph: Path, sentences: list[str]) -> np.ndarray:
    """Ids that the graph gives to sentences, padded: int32 [n, t]."""
    layer = tft.TFTransformOutput(str(graph)).transform_features_layer()
    return tf.cast(layer({"sentence1": tf.constant(sentences)})["ids1"].to_tensor(), tf.int32)
