"""The functional parts of albumentations 2.0.8, imported when they are first used.

Without its PyTorch transforms (which would load torch: 200 MB a worker, three times the import time) and without its
look for updates on the network. Its transforms are not used: they draw their own parameters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from types import ModuleType

_UPDATE = "NO_ALBUMENTATIONS_UPDATE"
_OPTIONAL = "albumentations.pytorch"
_LOCK = Lock()  # threads of a training loader may render their first pairs at the same moment


@lru_cache(maxsize=1)
def geometric() -> ModuleType:
    """``albumentations.augmentations.geometric.functional``."""
    with _without_torch():
        import albumentations.augmentations.geometric.functional as functional
    module: ModuleType = functional
    return module


@lru_cache(maxsize=1)
def pixel() -> ModuleType:
    """``albumentations.augmentations.pixel.functional``."""
    with _without_torch():
        import albumentations.augmentations.pixel.functional as functional
    module: ModuleType = functional
    return module


@contextmanager
def _without_torch() -> Iterator[None]:
    with _LOCK:
        before = os.environ.get(_UPDATE)
        os.environ[_UPDATE] = "1"
        hide = _OPTIONAL not in sys.modules
        if hide:
            sys.modules[_OPTIONAL] = None  # type: ignore[assignment]  # Python's way to make an import fail
        try:
            yield
        finally:
            if hide:
                del sys.modules[_OPTIONAL]
            if before is None:
                del os.environ[_UPDATE]
            else:
                os.environ[_UPDATE] = before
