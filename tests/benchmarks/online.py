"""Stored against on-line pairs: what a training loader gives in samples a second.

    python -m tests.benchmarks.online

Real-ESRGAN at HR 256, patches of 64 (the whole pair), batches of 8, on six photographs of scikit-image enlarged to
2 megapixels, which is what training photographs have. No pairs are kept between epochs (`cache_megabytes: 0` for stored
ones; photographs of on-line ones are measured both kept and not). CPU seconds are of the whole process.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2

from stages.data.opening import open_pairs
from stages.training.config import TrainConfig
from stages.training.loader import PairLoader
from tests.support.harness import FolderArtifact
from tests.support.pairs import ingest, synthesise
from tests.support.photos import NAMES, bundled

SECONDS = 6.0
HR, BATCH = 256, 8


def photographs(folder: Path) -> Path:
    folder.mkdir()
    for name in NAMES:
        image = cv2.imread(str(bundled(name)))
        side = (2_000_000 / (image.shape[0] * image.shape[1])) ** 0.5
        large = cv2.resize(image, None, fx=side, fy=side, interpolation=cv2.INTER_LANCZOS4)
        cv2.imwrite(str(folder / f"{Path(name).stem}.jpg"), large, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return folder


def rate(artifact: FolderArtifact, threads: int, megabytes: int) -> tuple[float, float]:
    """(samples a second, samples a CPU-second) of a loader whose batches are taken as fast as they come."""
    training = {"batch_size": BATCH, "learning_rate": 1.0}
    config = TrainConfig(steps=1, training=training, loader_threads=threads, cache_megabytes=megabytes)
    with PairLoader(open_pairs(artifact, split="train"), 4, config) as loader:
        first = 0
        for _ in range(6):  # threads start, caches fill
            loader.batch(first)
            first += BATCH
        began, cpu, start = time.perf_counter(), time.process_time(), first
        while time.perf_counter() - began < SECONDS:
            loader.batch(first)
            first += BATCH
        return tuple((first - start) / seconds for seconds in (time.perf_counter() - began, time.process_time() - cpu))


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = ingest(folder / "images", photographs(folder / "photos"), split={"val": 0, "test": 0})
        config = {"hr_size": HR, "crops": 8, "shards": 2}
        stored = synthesise(folder / "stored", images, **config)
        online = synthesise(folder / "online", images, online=True, **config)
        kinds = [("stored", stored, 0), ("on line", online, 512), ("on line, no photograph kept", online, 0)]
        print(f"HR {HR}, real-esrgan, batches of {BATCH}      samples/s   samples/CPU-s   of stored")
        for threads in (1, 2):
            base = 0.0
            for name, artifact, megabytes in kinds:
                wall, cpu = rate(artifact, threads, megabytes)
                base = base or wall
                label = f"{threads} thread{'s' if threads > 1 else ' '} {name}"
                print(f"{label:<42}{wall:10.1f}{cpu:16.1f}{wall / base:11.2f}x", flush=True)


if __name__ == "__main__":
    main()
