"""A small `images` artifact of real photographs and the pairs made of it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from stages.ingest.images import IngestImages
from stages.synthesis.pairs import DegradePairs
from tests.support.harness import FolderArtifact, run_stage
from tests.support.photos import copy_photos

SMALL: dict[str, Any] = {"preset": "real-esrgan", "hr_size": 64, "crops": 2, "shards": 3, "seed": 5}


def ingest(folder: Path, photos: Path, **config: Any) -> FolderArtifact:
    """The `images` artifact of the folder `photos`, made below `folder`."""
    return run_stage(IngestImages, folder, {"source": str(photos), **config}).artifacts["images"]


def synthesise(folder: Path, images: FolderArtifact, *, reverse: bool = False, **config: Any) -> FolderArtifact:
    """The pairs of `images`: HR 64, two crops an image, three shards unless `config` says otherwise."""
    settings = {**SMALL, **config}
    return run_stage(DegradePairs, folder, settings, {"images": images}, reverse=reverse).artifacts["pairs"]


@cache
def small_images() -> FolderArtifact:
    """Six photographs, ingested once a process; tests read it and never change it."""
    folder = Path(_kept().name)
    return ingest(folder / "images", copy_photos(folder / "photos"))


@cache
def small_pairs(*, online: bool = False) -> FolderArtifact:
    """The pairs of :func:`small_images` by the settings SMALL, made once a process; tests never change them."""
    return synthesise(Path(_kept().name) / ("online" if online else "stored"), small_images(), online=online)


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sharpline-pairs-")
