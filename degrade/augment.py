"""Paired augmentation of the HR crop: the symmetries of the square, through albumentations.

albumentations is imported when the first symmetry other than the identity is rendered.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

D4 = Literal["e", "h", "v", "r180", "t", "r90", "r270", "hvt"]


def symmetry(image: NDArray[np.uint8], element: D4) -> NDArray[np.uint8]:
    """Apply an element of D4 to [h, w, 3]; transposing elements swap height and width. Names are albumentations'.

    h and v mirror left-right and top-bottom, t transposes, r90 turns counter-clockwise, hvt is the other diagonal.
    """
    if element == "e":
        return image
    from degrade.albumentations_compat import geometric

    return np.ascontiguousarray(geometric().d4(image, element), dtype=np.uint8)


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
