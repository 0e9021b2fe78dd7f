"""Importing albumentations leaves the process as it was, also when two threads do it at the same moment."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from degrade.albumentations_compat import _OPTIONAL, _UPDATE, _without_torch


def test_threads_that_import_at_once_put_everything_back(monkeypatch):
    monkeypatch.delenv(_UPDATE, raising=False)
    monkeypatch.delitem(sys.modules, _OPTIONAL, raising=False)

    def overlapping(seconds):
        with _without_torch():
            time.sleep(seconds)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(overlapping, (0.02, 0.05, 0.01, 0.04)))
    assert _UPDATE not in os.environ
    assert _OPTIONAL not in sys.modules
