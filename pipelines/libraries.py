"""Versions of the installed distributions that a stage declares because they change its bytes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

OPENCV = frozenset(
    {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"}
)
"""Distributions that all install the module ``cv2`` into the same folder: the last one installed wins."""


class MissingLibrary(LookupError):
    """A declared distribution is not installed; the message names it."""


def library_versions(distributions: Iterable[str]) -> dict[str, str]:
    """The version of each distribution, by the name under which it was declared.

    Local labels are left out (``2.13.0+cpu`` is ``2.13.0``): which build of a release a machine carries is a
    fact of the machine, and keys do not depend on the machine. Raises :class:`MissingLibrary`.
    """
    return {name: library_version(name) for name in sorted(set(distributions))}


@cache
def library_version(distribution: str) -> str:
    """The public version of one installed distribution. Raises :class:`MissingLibrary`."""
    found = _opencv_version() if distribution.lower() in OPENCV else None
    if found is None:
        try:
            found = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingLibrary(
                f"distribution {distribution!r} is not installed; try: pip install {distribution}"
            ) from error
    return found.partition("+")[0]


def _opencv_version() -> str | None:
    """What ``import cv2`` would report, without importing it.

    basicsr pulls in ``opencv-python`` and albumentations ``opencv-python-headless``; with both installed the
    metadata of either may describe files that the other has overwritten, so the module itself is asked.
    """
    spec = importlib.util.find_spec("cv2")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py")
    match = re.search(r'^opencv_version\s*=\s*"([^"]+)"', text.read_text() if text.exists() else "", re.MULTILINE)
    return match.group(1) if match else None
