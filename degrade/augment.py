"""Paired augmentation of the HR crop: the symmetries of the square, through albumentations.

albumentations 2.0.8 is imported when the first symmetry other than the identity is rendered, without its PyTorch
transforms (which would load torch: 200 MB a worker, three times the import time) and without its look for updates
on the network.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

D4 = Literal["e", "h", "v", "r180", "t", "r90", "r270", "hvt"]


@lru_cache(maxsize=1)
def _functional() -> ModuleType:
    setting = "NO_ALBUMENTATIONS_UPDATE"
    optional = "albumentations.pytorch"
    before = os.environ.get(setting)
    os.environ[setting] = "1"
    hide = optional not in sys.modules
    if hide:
        sys.modules[optional] = None  # type: ignore[assignment]  # Python's way to make an import fail; it is optional
    try:
        import albumentations.augmentations.geometric.functional as functional
    finally:
        if hide:
            del sys.modules[optional]
        if before is None:
            del os.environ[setting]
        else:
            os.environ[setting] = before
    module: ModuleType = functional
    return module


def symmetry(image: NDArray[np.uint8], element: D4) -> NDArray[np.uint8]:
    """Apply an element of D4 to [h, w, 3]; transposing elements swap height and width. Names are albumentations'.

    h and v mirror left-right and top-bottom, t transposes, r90 turns counter-clockwise, hvt is the other diagonal.
    """
    if element == "e":
        return image
    return np.ascontiguousarray(_functional().d4(image, element), dtype=np.uint8)


def element(transpose: bool, hflip: bool, vflip: bool) -> D4:
    """The element that transposes first, then mirrors."""
    names: dict[tuple[bool, bool, bool], D4] = {
        (False, False, False): "e",
        (False, True, False): "h",
        (False, False, True): "v",
        (False, True, True): "r180",
        (True, False, False): "t",
        (True, True, False): "r270",
        (True, False, True): "r90",
        (True, True, True): "hvt",
    }
    return names[transpose, hflip, vflip]
