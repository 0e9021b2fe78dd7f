"""A small `images` artifact of real photographs and the pairs made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.ingest.images import IngestImages
from stages.synthesis.pairs import DegradePairs
from tests.support.harness import FolderArtifact, run_stage

SMALL: dict[str, Any] = {"preset": "real-esrgan", "hr_size": 64, "crops": 2, "shards": 3, "seed": 5}


def ingest(folder: Path, photos: Path, **config: Any) -> FolderArtifact:
    """The `images` artifact of the folder `photos`, made below `folder`."""
    return run_stage(IngestImages, folder, {"source": str(photos), **config}).artifacts["images"]


def synthesise(folder: Path, images: FolderArtifact, *, reverse: bool = False, **config: Any) -> FolderArtifact:
    """The pairs of `images`: HR 64, two crops an image, three shards unless `config` says otherwise."""
    settings = {**SMALL, **config}
    return run_stage(DegradePairs, folder, settings, {"images": images}, reverse=reverse).artifacts["pairs"]
