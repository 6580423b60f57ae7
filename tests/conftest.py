from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

from collections.abc import Callable

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


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Called with a package, or with our own name: from then on its version is 99.9."""
    from transforms import versions

    real_version = versions.version

    def upgrade(package: str) -> None:
        if package == "twinbeam":
            monkeypatch.setattr(versions, "twinbeam_version", lambda: "99.9")
        monkeypatch.setattr(
            versions, "version", lambda name: "99.9" if name == package else real_version(name)
        )

    return upgrade
