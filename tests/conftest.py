from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import pytest
from hypothesis import settings

# The same cases on every machine and no clock: a red test must be red again.
settings.register_profile("twinbeam", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("twinbeam")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves heavy tests out unless they are asked for: by -m, or by name."""
    if config.getoption("-m") or any("::" in argument for argument in config.args):
        return
    skip = [item for item in items if any(map(item.get_closest_marker, ("slow", "flink")))]
    if skip:
        config.hook.pytest_deselected(items=skip)
        items[:] = [item for item in items if item not in skip]
