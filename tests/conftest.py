"""How tests are spread over processes: a file stays together, for its fixtures, and so does all that starts Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

STARTS_RAY = {"tests/pipelines/executors/test_ray.py", "tests/journeys/test_determinism.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Two clusters that start at once on a small machine exceed Ray's own limits."""
    for item in items:
        file = Path(item.path).relative_to(config.rootpath).as_posix()
        item.add_marker(pytest.mark.xdist_group("ray" if file in STARTS_RAY else file))
