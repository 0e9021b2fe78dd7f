"""One thread for OpenCV, so that neither speed nor bytes depend on its pool; parallelism is by processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Run OpenCV on the calling thread alone within the block, and put the process's setting back after it.

    The setting is global to the process: a worker that only renders calls ``cv2.setNumThreads(1)`` once, and this
    costs nothing more.
    """
    import cv2

    before = cv2.getNumThreads()
    if before == 1:
        yield
        return
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
