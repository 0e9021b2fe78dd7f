"""Locations: what a relative path in a spec means, and which texts are addresses instead."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipelines.spec.location import Location

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def resolve(text: str, written: Location) -> str:
    """`text` as an absolute path, relative to the folder of the file that wrote it.

    Addresses (``s3://…``, ``hf://…``, ``skimage:photos``) and absolute paths stay as they are, ``~`` is the
    home folder, and what ``--set`` wrote is relative to the working directory, as in any shell command.
    """
    if not text or _SCHEME.match(text):
        return text
    expanded = os.path.expanduser(text)
    base = Path.cwd() if written.is_override else Path(os.path.abspath(written.file)).parent
    return os.path.normpath(base / expanded)
