"""degrade.pairs as a whole: what storing adds to a pair, the memory of one worker, and two workers against one."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from degrade.engine import render
from degrade.presets import Preset
from degrade.recipe import sample_recipe
from stages.data.pixels import encode_png
from stages.data.tar import TarWriter
from stages.synthesis.encoding import Encoding
from stages.synthesis.pair import PairMaker, Photograph
from stages.synthesis.writer import PairWriter
from tests.support.pairs import ingest, synthesise

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
DIGEST = "ab" * 32


def photograph(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """One of scikit-image's photographs at its own scale, mirrored to `height` x `width`: uint8 RGB."""
    image = getattr(data, name)()
    rows, columns = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")[:height, :width].copy()


def write_pool(folder: Path, images: int, height: int, width: int) -> Path:
    """A folder of `images` different JPEG photographs of `height` x `width`."""
    folder.mkdir(parents=True)
    for index in range(images):
        image = np.roll(photograph(PHOTOS[index % len(PHOTOS)], height, width), 7 * index, axis=(0, 1))
        cv2.imwrite(str(folder / f"{index:04d}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return folder


def storing(preset: Preset, size: int, pairs: int) -> tuple[float, float, float]:
    """CPU-seconds a pair: drawn and rendered; drawn, rendered, encoded and written to a shard; PNG encoding alone.

    The first two turn by turn on the same crops, so that neighbours on the machine disturb both alike.
    """
    photos = [Photograph(DIGEST, "train", photograph(name, size + 300, size + 300)) for name in PHOTOS]
    maker = PairMaker(preset, 1, 4, size, Encoding())
    spent = {"bare": 0.0, "stored": 0.0, "png": 0.0}
    last = time.process_time()

    def lap(name: str) -> None:
        nonlocal last
        now = time.process_time()
        spent[name] += now - last
        last = now

    with tempfile.TemporaryDirectory() as folder, TarWriter(Path(folder) / "shard.tar") as tar:
        writer = PairWriter(tar)
        for crop in range(-4, pairs):  # four to warm up
            photo, number = photos[crop % len(photos)], crop % 10_000
            if crop == 0:
                spent = dict.fromkeys(spent, 0.0)
            last = time.process_time()
            common = {"image_size": photo.pixels.shape[:2], "hr_size": size, "scale": 4}
            hr, lr = render(photo.pixels, sample_recipe(preset, seed=1, image=DIGEST, crop=number, **common))
            lap("bare")
            writer.add(maker.make(photo, number))
            lap("stored")
            encode_png(hr), encode_png(lr)
            lap("png")
    return spent["bare"] / pairs, spent["stored"] / pairs, spent["png"] / pairs


def peak_memory(images: int, crops: int) -> float:
    """MB that a fresh process holds at most while it makes one shard of pairs at HR 512 from photographs of 4 MP."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        artifact = ingest(folder / "images", write_pool(folder / "photos", images, 1728, 2304))
        (folder / "artifact").write_bytes(pickle.dumps(artifact))
        command = [sys.executable, "-m", "tests.support.degrade_pool", str(folder), str(crops)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _one_shard(folder: Path, crops: int) -> float:
    """The body of :func:`peak_memory`'s process."""
    artifact = pickle.loads((folder / "artifact").read_bytes())
    synthesise(folder / "pairs", artifact, hr_size=512, crops=crops, shards=1)
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1e3


def throughput(workers: int, images: int, crops: int) -> float:
    """Pairs a second of wall time, HR 256, by `workers` Ray workers of a pool of `images` photographs of 1 MP.

    Counted from the first finished shard of every worker to the last, so that the start of Ray is left out.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pool(folder / "photos", images, 1024, 1024)
        spec = folder / "pool.yaml"
        settings = f"{{hr_size: 256, crops: {crops}, shards: 10000, preset: real-esrgan}}"
        spec.write_text(
            "sharpline: 1\nname: pool\nstages:\n"
            "  images: {uses: ingest.images, with: {source: ./photos}}\n"
            f"  pairs: {{uses: degrade.pairs, with: {settings}, inputs: {{images: images}}}}\n"
        )
        start = "import sys; from pipelines.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", start, "run", str(spec), "--json", "--cpus", str(workers)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ends = sorted(e["time"] for e in events if e["type"] == "partition.done" and e["stage"] == "pairs")
    return crops * (len(ends) - workers) / (ends[-1] - ends[workers - 1])


if __name__ == "__main__":
    print(_one_shard(Path(sys.argv[1]), int(sys.argv[2])))
