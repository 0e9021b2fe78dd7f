"""Real photographs for tests: some of those that scikit-image brings along."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

NAMES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "rocket.jpg")


def bundled(name: str) -> Path:
    """The installed file of one of scikit-image's pictures."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data" / name


def copy_photos(folder: Path, *names: str) -> Path:
    """Copy the named photographs (all of NAMES by default) into `folder`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        shutil.copyfile(bundled(name), folder / name)
    return folder
