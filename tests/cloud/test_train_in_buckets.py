"""Training whose checkpoints and bundle lie in a bucket: the bucket store runs on loopback."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

from model.dataset.examples import open_examples
from model.training.checkpoints import LATEST, Progress
from model.training.train import TrainOptions
from pipelines.training.bundle_output import is_bundle_kept
from tests.model.tiny_examples import write_examples
from tests.model.training.test_checkpoints import checkpoints, trained, values
from tests.model.training.test_fitting import Silent, recipe, train
from transforms.errors import RunError, UserError


def test_a_fresh_machine_gets_back_all_that_was_saved(cloud, bucket):
    model, optimizer = trained(1, 3)
    saving = checkpoints(bucket, model, optimizer)
    for step in range(4):
        saving.save(Progress(step=step), model.get_weights())
    indexes = [name for name in cloud.names(bucket) if name.endswith(".index")]
    assert indexes == ["ckpt-3.index", "ckpt-4.index"]  # the last two are kept, as on a disk
    other, other_optimizer = trained(2, 0)
    found, _ = checkpoints(bucket, other, other_optimizer).restore()
    assert found.step == 3
    assert all(map(np.array_equal, values(other, other_optimizer), values(model, optimizer)))


@pytest.mark.parametrize("last", ["ckpt-2.index", "ckpt-2.data-00000-of-00001", LATEST])
def test_who_dies_while_copying_leaves_the_checkpoint_before(cloud, bucket, monkeypatch, last):
    model, optimizer = trained(1, 1)
    saving = checkpoints(bucket, model, optimizer)
    saving.save(Progress(step=1), model.get_weights())
    copy = saving._place._copy

    def dying(name):
        if name == last:
            raise ConnectionError
        copy(name)

    monkeypatch.setattr(saving._place, "_copy", dying)
    with pytest.raises(ConnectionError):
        saving.save(Progress(step=2), model.get_weights())
    again = checkpoints(bucket, *trained(1, 0))
    assert again.restore()[0].step == 1
    again.save(Progress(step=7), model.get_weights())  # under the name that lies there half copied
    assert checkpoints(bucket, *trained(1, 0)).restore()[0].step == 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rules = recipe(epochs=2)
    return write_examples(tmp_path_factory.mktemp("buckets") / "examples", rules.to_yaml())


def test_sigterm_and_on_another_machine_the_same_weights(cloud, bucket, folder):
    def preempt(count):
        if count == 11:
            os.kill(os.getpid(), signal.SIGTERM)

    examples = open_examples(str(folder))
    with pytest.raises(RunError, match=r"a checkpoint is in gs://"):
        train(examples, recipe(epochs=2), reporter=Silent(preempt), folder=bucket)
    reporter = Silent()
    _, weights = train(examples, recipe(epochs=2), reporter=reporter, folder=bucket)
    assert reporter.count == 2 * 8 - 12  # the step after the signal ends it
    _, undisturbed = train(examples, recipe(epochs=2))
    assert all(map(np.array_equal, weights, undisturbed))


@pytest.fixture
def half_a_bundle(cloud, bucket):
    cloud.write(f"{bucket}/bundle/saved_model/saved_model.pb", b"cut")
    cloud.write(f"{bucket}/bundle/recipe.yaml", b"cut")
    return f"{bucket}/bundle"


def options_of(output, **more):
    return TrainOptions(examples="gs://none/e", output=output, **more)


def test_a_run_that_died_while_it_published_may_publish_again(half_a_bundle, bucket):
    assert is_bundle_kept(options_of(half_a_bundle, checkpoints=f"{bucket}/c")) is False
    with pytest.raises(UserError, match="is not a bundle"):
        is_bundle_kept(options_of(half_a_bundle))


def test_what_else_lies_there_is_never_replaced(cloud, half_a_bundle, bucket):
    cloud.write(f"{half_a_bundle}/photo.jpg", b"mine")
    with pytest.raises(UserError, match="is not a bundle"):
        is_bundle_kept(options_of(half_a_bundle, checkpoints=f"{bucket}/c"))


def test_a_json_line_an_epoch_in_a_bucket(cloud, bucket, folder):
    from model.training.reporter import Reporter

    for first in (1, 3):  # two runs: the second goes on with the file of the first
        with Reporter(log_json=f"{bucket}/log.jsonl") as reporter:
            for epoch in (first, first + 1):
                reporter.begin_epoch(epoch, 4, 0, 8)
                reporter.end_epoch({"epoch": epoch, "loss": 0.5}, 4)
    lines = cloud.read(f"{bucket}/log.jsonl").decode().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
