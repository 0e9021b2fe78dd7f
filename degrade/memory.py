"""Where the bytes are while an image is worked on: freed memory that stays mapped, and bands that fit a cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BAND: Final = 1 << 15
"""Values of one band: with three or four float32 temporaries it stays in a second-level cache of 1 MB."""


def bands(image: NDArray[Any]) -> Iterator[slice]:
    """Slices of whole rows that cover [h, w, ...]. A chain of cheap passes runs twice as fast band by band."""
    rows = max(1, _BAND * len(image) // max(1, image.size))
    for start in range(0, len(image), rows):
        yield slice(start, start + rows)


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to 64 MB, instead of handing every image back to the kernel.

    glibc maps blocks above a threshold one by one and unmaps them when they are freed, so each temporary of a few MB
    is faulted in page by page, at the cost of several passes over it. The threshold follows the largest block
    freed so far, to at most 32 MB: one untouched block settles it for the process. Other libraries take no notice.
    """
    np.empty(31 << 20, dtype=np.uint8)
