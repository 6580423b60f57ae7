from __future__ import annotations

import keras
import numpy as np
import pytest

from model.training.checkpoints import Checkpoints, Progress
from transforms.errors import UserError


def network(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(3), keras.layers.Dropout(0.5, seed=seed)]
    return keras.Sequential([keras.Input((2,)), *layers])


def checkpoints(folder, model, optimizer, **options):
    best = [variable.numpy() for variable in model.trainable_variables]
    options = {"run": "this"} | options
    variables = model.variables + optimizer.variables
    return Checkpoints(str(folder), variables=variables, best=best, **options)


def trained(seed, steps):
    model, optimizer = network(seed), keras.optimizers.Adam(0.1)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    for _ in range(steps):
        model.train_on_batch(np.ones([4, 2]), np.ones([4, 3]))
    return model, optimizer


def values(model, optimizer):
    return [variable.numpy() for variable in model.variables + optimizer.variables]


@pytest.mark.parametrize("name", ["plain", "a[1]*"])
def test_a_fresh_process_gets_back_all_that_was_saved(tmp_path, name):
    tmp_path = tmp_path / name
    model, optimizer = trained(1, 3)
    progress = Progress(epoch=2, step=5, loss_sum=0.1 + 0.2, history=[{"epoch": 1, "loss": 0.3}])
    best = [np.full(v.shape, 7, np.float32) for v in model.trainable_variables]
    checkpoints(tmp_path, model, optimizer).save(progress, best)

    other, other_optimizer = trained(2, 0)
    found, found_best = checkpoints(tmp_path, other, other_optimizer).restore()
    assert found == progress
    assert all(map(np.array_equal, found_best, best))
    assert all(map(np.array_equal, values(other, other_optimizer), values(model, optimizer)))


def test_random_state_is_restored(tmp_path):
    model, optimizer = trained(1, 3)
    checkpoints(tmp_path, model, optimizer).save(Progress(), model.get_weights())
    wanted = [model(np.ones([4, 2]), training=True).numpy() for _ in range(2)]
    other, other_optimizer = trained(2, 0)
    checkpoints(tmp_path, other, other_optimizer).restore()
    found = [other(np.ones([4, 2]), training=True).numpy() for _ in range(2)]
    assert all(map(np.array_equal, found, wanted))


def test_the_last_of_several_counts_and_old_ones_go(tmp_path):
    model, optimizer = trained(1, 1)
    saving = checkpoints(tmp_path, model, optimizer)
    for step in range(4):
        saving.save(Progress(step=step), model.get_weights())
    assert len(list(tmp_path.glob("*.index"))) == 2
    progress, _ = checkpoints(tmp_path, model, optimizer).restore()
    assert progress.step == 3


def test_an_empty_folder_has_nothing(tmp_path):
    assert checkpoints(tmp_path / "none", *trained(1, 0)).restore() is None


def test_another_runs_checkpoints_are_refused(tmp_path):
    model, optimizer = trained(1, 0)
    checkpoints(tmp_path, model, optimizer).save(Progress(), model.get_weights())
    with pytest.raises(UserError, match="another recipe, seed, batch size"):
        checkpoints(tmp_path, model, optimizer, run="other").restore()


def test_due_by_steps_and_by_minutes(tmp_path):
    now = [0.0]
    model, optimizer = trained(1, 0)
    by_steps = checkpoints(tmp_path, model, optimizer, every_steps=3)
    assert [by_steps.due() for _ in range(3)] == [False, False, True]
    by_time = checkpoints(tmp_path, model, optimizer, every_minutes=2, clock=lambda: now[0])
    assert not by_time.due()
    now[0] = 121.0
    assert by_time.due()
    by_time.save(Progress(), model.get_weights())
    assert not by_time.due()
