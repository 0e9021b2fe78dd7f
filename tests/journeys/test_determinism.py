"""A thousand pairs: the same bytes for any number of workers, order of files, process, thread setting and hash seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.store.store import open_store
from tests.support.cli import Sharpline
from tests.support.photos import NAMES, bundled

PHOTOS = 250
SPEC = """
sharpline: 1
name: thousand
stages:
  photos:
    uses: ingest.images
    with: {source: ./photos, min_size: 32, buckets: 4}
  hard:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: real-esrgan, hr_size: 32, crops: 2, shards: 3, shard_samples: 150}
  mild:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: resshift, hr_size: 32, crops: 2, shards: 4, encoding: {hr: webp, lr: jpeg}}
"""
WORKERS = ("photos", "hard", "mild")


@dataclass(frozen=True)
class Made:
    """Shards by stage and name, and how many pairs there are."""

    shards: dict[str, dict[str, str]]
    pairs: int


def cut_photos(folder: Path, order: slice, prefix: str) -> None:
    """PHOTOS different pieces of the bundled photographs, 80 x 72 pixels, written in some order under some names."""
    folder.mkdir(parents=True)
    sources = [np.asarray(Image.open(bundled(name)).convert("RGB")) for name in NAMES]
    draw = np.random.default_rng(20)
    places = [(int(draw.integers(len(sources))), *draw.random(2)) for _ in range(PHOTOS)]
    for number, (which, down, right) in list(enumerate(places))[order]:
        photo = sources[which]
        y, x = int(down * (photo.shape[0] - 72)), int(right * (photo.shape[1] - 80))
        Image.fromarray(photo[y : y + 72, x : x + 80]).save(
            folder / f"{prefix}{(number * 97) % PHOTOS:03d}.png", compress_level=1
        )


def make(
    folder: Path, *, workers: int, executor: str = "local", order: slice = slice(None), prefix: str = "a", **env: str
) -> Made:
    cut_photos(folder / "photos", order, prefix)
    (folder / "spec.yaml").write_text(SPEC)
    sharpline = Sharpline(cwd=folder, env=env)
    limits = [text for name in WORKERS for text in ("--set", f"stages.{name}.resources.workers={workers}")]
    done = sharpline("run", "spec.yaml", "--executor", executor, "--quiet", *limits)
    assert done.code == 0, done.out + done.err
    plan, store = sharpline.plan("spec.yaml"), open_store(folder / ".sharpline")
    shards, pairs = {}, 0
    for stage in ("hard", "mild"):
        manifest = store.trees.get(plan[stage]["outputs"]["pairs"])
        shards[stage] = {entry.name: entry.sha256 for entry in manifest.entries if not entry.derived}
        pairs += len(table_rows(store.blobs.open(manifest.entry("index.parquet").sha256)))
    return Made(shards, pairs)


def table_rows(index: Path) -> list[str]:
    import pyarrow.parquet

    keys: list[str] = pyarrow.parquet.read_table(index, columns=["key"])["key"].to_pylist()
    return keys


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("one") / "project", workers=1)


@pytest.mark.ci
def test_two_workers_with_other_threads_hash_seed_names_and_order(tmp_path: Path, one_worker: Made) -> None:
    settings = {"PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "2", "OPENCV_FOR_THREADS_NUM": "2"}
    other = make(tmp_path / "project", workers=2, order=slice(None, None, -1), prefix="z", **settings)
    assert one_worker.pairs == 1000
    assert len(one_worker.shards["hard"]) > 3  # some were over their budget
    assert other == one_worker


@pytest.mark.ci
def test_two_ray_workers(tmp_path: Path, one_worker: Made) -> None:
    assert make(tmp_path / "project", workers=2, executor="ray") == one_worker
