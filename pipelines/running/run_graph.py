"""Runs a Beam graph where the options say, and waits for its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.dataflow import jobs
from pipelines.dataflow import settings as dataflow


@contextmanager
def running(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline to build the graph on; it runs when the block ends, to its end."""
    pipeline = beam.Pipeline(options=options)
    yield pipeline
    if dataflow.is_used(options):
        jobs.submit(pipeline, options)
    else:
        pipeline.run().wait_until_finish()


def commit_once(pipeline: beam.Pipeline, commit: Callable[..., Any], **given: Any) -> None:
    """The last step of a graph: `commit(None, …)`, when all that it is given is complete.

    Args:
        pipeline: the graph.
        commit: picklable; a runner may call it again.
        given: side inputs by the names of its parameters.
    """
    _ = (
        pipeline
        | "Once" >> beam.Create([None])  # the work comes by side inputs, which are waited for
        | "Commit" >> beam.Map(commit, **given)
    )
