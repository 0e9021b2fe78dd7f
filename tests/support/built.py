"""A small spec that the installed command has built, once a test run: two photographs and their pairs, twice."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.cli import Finished, Sharpline
from tests.support.photos import copy_photos

SPEC = """
sharpline: 1
name: small
stages:
  photos: {uses: ingest.images, with: {source: ./photos}}
  pairs:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: real-esrgan, hr_size: 64, crops: 6, shards: 2, seed: 1}
  live:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: real-esrgan, hr_size: 64, crops: 6, shards: 2, seed: 1, online: true}
"""


@dataclass(frozen=True)
class BuiltSpec:
    """The folder with the spec, its photographs and its store; tests read and never change it."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    def __call__(self, *arguments: str | Path) -> Finished:
        """The command, run in the folder."""
        return Sharpline(self.folder)(*arguments)


@cache
def built_spec() -> BuiltSpec:
    """The spec, built."""
    folder = Path(_kept().name)
    copy_photos(folder / "photos", "chelsea.png", "coffee.png")
    built = BuiltSpec(folder)
    built.file.write_text(SPEC)
    done = built("run", "spec.yaml", "--executor", "local", "--cpus", "1", "-q")  # another worker imports all again
    assert done.code == 0, done.err + done.out
    return built


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sharpline-built-")
