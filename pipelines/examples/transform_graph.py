"""The recipe's way from sentences to ids, and its graph where no data is needed to make it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apache_beam as beam
import pyarrow as pa

from model.recipe.recipe import Recipe
from transforms.examples.records import RAW_SCHEMA, tensor_adapter_config
from transforms.quiet_tensorflow import import_tensorflow
from transforms.storage import files
from transforms.text.given_vocabulary import GivenVocabulary, read_given_vocabulary

LOCAL_RUNNER = "FnApiRunner"

if TYPE_CHECKING:
    from transforms.text.features import TextFeatures


def given_vocabulary(recipe: Recipe) -> GivenVocabulary:
    """The vocabulary that comes with the recipe's pre-trained model; an empty one where none does.

    Raises:
        UserError: its file is not there, or is another thing.
    """
    return read_given_vocabulary(recipe.text.tokenizer, recipe.vocabulary_path)


def text_features(recipe: Recipe, vocabulary: GivenVocabulary) -> TextFeatures:
    """The recipe's way from sentences to ids."""
    from transforms.text.features import TextFeatures

    text = recipe.text
    return TextFeatures(
        tokenizer=text.tokenizer,
        lowercase=text.lowercase,
        nfkc=text.nfkc,
        max_vocabulary=text.max_vocabulary,
        min_count=text.min_count,
        max_tokens=text.max_tokens,
        wordpieces=vocabulary.wordpieces,
        sentencepieces=vocabulary.sentencepieces,
        prefix=text.prefix,
    )


def write_graph(recipe: Recipe, vocabulary: GivenVocabulary, folder: str) -> None:
    """Writes the transform graph that preprocessing would, of a recipe that learns no vocabulary.

    tf.Transform wants rows to analyse; a synthetic one is as good as any, since nothing is learned.
    """
    import_tensorflow()
    import tensorflow_transform.beam as tft_beam

    columns = [[[b"a"]], [[b"b"]], [[0.0]]]
    row = pa.RecordBatch.from_arrays(
        [pa.array(values, kind) for values, kind in zip(columns, RAW_SCHEMA.types, strict=True)],
        schema=RAW_SCHEMA,
    )
    temporary = os.path.join(folder, files.TEMPORARY_FOLDER)
    with beam.Pipeline(LOCAL_RUNNER) as pipeline, tft_beam.Context(temp_dir=temporary):
        rows = pipeline | "Make up a row" >> beam.Create([row])
        graph = (rows, tensor_adapter_config(RAW_SCHEMA)) | "Trace" >> tft_beam.AnalyzeDataset(
            text_features(recipe, vocabulary)
        )
        _ = graph | "Write graph" >> tft_beam.WriteTransformFn(folder)
