"""Scratch folders on the store's own file system, so that finished files are moved into it and not copied.

A folder's name says which process made it; what dead processes of this machine left is removed by the next one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

from pipelines.store.holder import boot_id, process_gone, start_ticks


def new_scratch(root: Path) -> Path:
    """A fresh empty folder below `root`. Its maker removes it; a killed maker's is removed by others."""
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    pid = os.getpid()
    folder = root / f"{_here()}-{pid}-{start_ticks(pid) or 0}-{secrets.token_hex(6)}"
    folder.mkdir()
    return folder


def _here() -> str:
    return hashlib.sha256(boot_id().encode()).hexdigest()[:16] if boot_id() else "unknown"


def _sweep(root: Path) -> None:
    for name in os.listdir(root):
        place, _, rest = name.partition("-")
        pid, _, rest = rest.partition("-")
        started = rest.partition("-")[0]
        if place != _here() or place == "unknown" or not pid.isdigit() or not started.isdigit():
            continue
        if process_gone(int(pid), int(started)):
            shutil.rmtree(root / name, ignore_errors=True)
