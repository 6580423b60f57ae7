"""Where training runs: one device, all GPUs of a machine, or several machines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from transforms.errors import RunError, UserError

NAMES = ("auto", "one", "mirrored", "multi_worker")


@dataclass(frozen=True)
class Cluster:
    """This process's place among the training processes, as `TF_CONFIG` says."""

    workers: int = 1
    task: str = "worker"
    index: int = 0
    has_chief: bool = False

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes: the chief, or without one worker 0."""
        return self.task == "chief" or (not self.has_chief and self.index == 0)


@dataclass(frozen=True)
class Placement:
    """The strategy to train under, and one line that says what was chosen and why."""

    strategy: tf.distribute.Strategy
    cluster: Cluster
    why: str

    @property
    def replicas(self) -> int:
        """Copies of the model that train together."""
        return self.strategy.num_replicas_in_sync

    def gather(self, *values: float) -> np.ndarray:
        """These numbers of every replica, float32 [replicas, n]; waits until all have come here.

        Whole numbers are exact below 2^24: on GPUs, collectives take no integers.
        """

        @tf.function
        def gathered() -> tf.Tensor:
            mine = self.strategy.run(lambda: tf.constant([values], tf.float32))
            return self.strategy.gather(mine, axis=0)

        return gathered().numpy()

    def check_agreement(self, run: str, epoch: int, step: int) -> None:
        """Workers that train other things, or from elsewhere, would wait for each other for ever.

        Args:
            run: names what is trained, hexadecimal.
            epoch: where this worker begins, from 0.
            step: of that epoch.

        Raises:
            UserError: they do.
        """
        rows = self.gather(int(run[:6], 16), epoch, step)
        if (rows == rows[0]).all():
            return
        places = sorted({f"epoch {epoch + 1:.0f} step {step:.0f}" for _, epoch, step in rows})
        raise UserError(
            "the workers disagree: all need the same flags, the same examples, and a "
            f"--checkpoints folder that each of them sees; they would resume from {places}"
        )

    @contextmanager
    def lost_workers(self) -> Iterator[None]:
        """A worker that dies breaks the collectives of all others: said in one line.

        Raises:
            RunError: another worker was lost.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.cluster.workers == 1:
                raise
            raise RunError(
                f"training lost a worker ({type(error).__name__}: {str(error)[:200]}); start all "
                "workers again, they resume from the last checkpoint"
            ) from None


def read_cluster(environ: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster in `TF_CONFIG`; one worker where there is none.

    Raises:
        UserError: it cannot be read, or has tasks that this training does not know.
    """
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return Cluster()
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        counts = {name: len(addresses) for name, addresses in cluster.items() if addresses}
        place = (str(task.get("type", "worker")), int(task.get("index", 0)))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG cannot be read ({error}); expected JSON like "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, '
            f'"task": {{"type": "worker", "index": 0}}}}, received {text[:200]!r}'
        ) from None
    unknown = sorted(set(counts) - {"chief", "worker"})
    if unknown:
        raise UserError(f"TF_CONFIG names tasks {unknown}; training knows chief and worker only")
    if counts and place[1] >= counts.get(place[0], 0):
        raise UserError(
            f"TF_CONFIG's task is {place[0]} {place[1]}, and its cluster has "
            f"{counts.get(place[0], 0)} of them"
        )
    return Cluster(max(sum(counts.values()), 1), *place, "chief" in counts)


def choose_strategy(name: str = "auto") -> Placement:
    """Several workers in TF_CONFIG → multi_worker; several GPUs → mirrored; else one device.

    Must run before any other TensorFlow operation where there are several workers.

    Raises:
        UserError: the strategy that was chosen does not fit the devices.
    """
    if name not in NAMES:
        raise UserError(f"--strategy must be one of {', '.join(NAMES)}, received {name!r}")
    cluster = read_cluster()
    if name == "multi_worker" or (name == "auto" and cluster.workers > 1):
        return _multi_worker(cluster, name)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:  # pragma: no cover - GPU only
        tf.config.experimental.set_memory_growth(gpu, True)
    why = "--strategy asks for it" if name != "auto" else f"{len(gpus)} GPUs, no cluster"
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        # Named one by one: where TF_CONFIG has a cluster of one machine, as Vertex AI sets it,
        # TensorFlow would look for them in that cluster and not here.
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
        replicas = strategy.num_replicas_in_sync
        return Placement(strategy, Cluster(), f"strategy: mirrored on {replicas} devices ({why})")
    device = "GPU" if gpus else "CPU"
    return Placement(tf.distribute.get_strategy(), Cluster(), f"strategy: one {device} ({why})")


def _multi_worker(cluster: Cluster, name: str) -> Placement:
    if cluster.workers < 2:
        raise UserError(
            "--strategy multi_worker needs a cluster of two or more workers in TF_CONFIG; "
            f"received {os.environ.get('TF_CONFIG', '')[:200]!r}"
        )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    reason = "TF_CONFIG has a cluster" if name == "auto" else "--strategy asks for it"
    why = (
        f"strategy: multi_worker, this is {cluster.task} {cluster.index} of {cluster.workers} "
        f"workers, {strategy.num_replicas_in_sync} replicas ({reason})"
    )
    return Placement(strategy, cluster, why)
