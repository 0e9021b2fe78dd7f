"""Photographs that come with an installed package, so that a first run needs no download.

Of scikit-image's pictures these seven are photographs of things (five in colour, two gray). Left out: drawings,
micrographs, medical and astronomical pictures, bare textures (brick, grass, gravel: a small model that learns
from them does worse on everything else), a motion-blurred one, and the right half of a stereo pair, which would
put nearly the same photograph into two splits.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from pipelines.stage import ListedFile, Listing, StageError

SKIMAGE = "skimage:photos"
_PHOTOS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip


def list_skimage() -> Listing:
    """The bundled photographs, found without importing scikit-image.

    The package's version stands for the time stamp: installing the same version again changes nothing.
    Raises StageError when scikit-image or one of the photographs is missing.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise StageError(f"source {SKIMAGE!r} needs scikit-image, which is not installed: pip install scikit-image")
    version = importlib.metadata.version("scikit-image")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    missing = [name for name in _PHOTOS if not (folder / name).is_file()]
    if missing:
        raise StageError(
            f"source {SKIMAGE!r}: scikit-image {version} has no {', '.join(missing)} in {folder}; "
            "install another version of it, or name a folder of photographs instead"
        )
    return Listing(
        tuple(
            ListedFile(name, (folder / name).stat().st_size, f"scikit-image {version}", str(folder / name))
            for name in _PHOTOS
        )
    )
