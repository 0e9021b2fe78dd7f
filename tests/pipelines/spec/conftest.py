from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import SpecFolder


@pytest.fixture
def specs(tmp_path: Path) -> SpecFolder:
    return SpecFolder(tmp_path)
