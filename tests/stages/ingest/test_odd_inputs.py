"""Every kind of file that people keep in photo folders, from ingestion to a pair's HR image: pixels or a reason."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.stage import StageError
from stages.data.samples import SampleIndex
from stages.ingest.images import IngestImages
from tests.support.harness import FolderArtifact, run_stage
from tests.support.pairs import synthesise
from tests.support.photos import bundled

Pixels = NDArray[np.uint8]
SIZE = (120, 80)
PHOTO = Image.open(bundled("coffee.png")).convert("RGB").resize(SIZE)
RGB = np.asarray(PHOTO)
FRAMES = [PHOTO, PHOTO.rotate(180)]


@dataclass(frozen=True)
class Taken:
    """Accepted: the HR pixels are `pixels` up to a mean difference of `tolerance` code values."""

    pixels: Pixels
    tolerance: float = 0.0


@dataclass(frozen=True)
class Left:
    """Left out, with a reason that contains this."""

    reason: str


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(array: NDArray[np.uint16]) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def with_alpha(lowest: int) -> bytes:
    image = PHOTO.convert("RGBA")
    alpha = np.full(SIZE[::-1], 255, np.uint8)
    alpha[10, 10] = lowest
    image.putalpha(Image.fromarray(alpha))
    return saved(image, "PNG")


def turned(kind: str, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    return saved(PHOTO, kind, exif=exif, **options)


def one_bit_png(width: int, height: int, rows: int) -> bytes:
    """A white 1-bit PNG of few bytes. With fewer rows than its height it is cut short."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + b"\xff" * -(-width // 8)) * rows, 1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


GRAY = np.asarray(PHOTO.convert("L"))
WORDS = RGB[..., ::-1].astype(np.uint16) * 256 + 77
JPEG, PNG = saved(PHOTO, "JPEG", quality=95), saved(PHOTO, "PNG")
THREE = np.repeat(GRAY[..., None], 3, 2)
COLOURS = PHOTO.convert("P", palette=Image.Palette.ADAPTIVE)
BASELINE = np.asarray(Image.open(io.BytesIO(JPEG)))

TABLE: dict[str, tuple[bytes, Taken | Left]] = {
    "plain.png": (PNG, Taken(RGB)),
    "baseline.jpg": (JPEG, Taken(BASELINE, 0.5)),
    "progressive.jpg": (saved(PHOTO, "JPEG", quality=95, progressive=True), Taken(BASELINE, 0.5)),
    "lossless.webp": (saved(PHOTO, "WEBP", lossless=True), Taken(RGB)),
    "plain.tif": (saved(PHOTO, "TIFF"), Taken(RGB)),
    "really-a-png.jpg": (saved(PHOTO, "PNG", compress_level=1), Taken(RGB)),
    "gray.png": (saved(PHOTO.convert("L"), "PNG"), Taken(THREE)),
    "gray.jpg": (saved(PHOTO.convert("L"), "JPEG", quality=95), Taken(THREE, 2)),
    "palette.png": (saved(COLOURS, "PNG"), Taken(np.asarray(COLOURS.convert("RGB")))),
    "one-bit.png": (one_bit_png(*SIZE, SIZE[1]), Taken(np.full_like(RGB, 255))),
    "16-bit.png": (png(WORDS), Taken(RGB)),
    "16-bit-gray.png": (png(GRAY.astype(np.uint16) * 256 + 200), Taken(THREE)),
    "cmyk.jpg": (saved(PHOTO.convert("CMYK"), "JPEG", quality=98), Taken(RGB, 3)),
    "opaque-alpha.png": (with_alpha(255), Taken(RGB)),
    "turned.png": (turned("PNG"), Taken(np.rot90(RGB, -1))),
    "turned.jpg": (turned("JPEG", quality=98, subsampling=0), Taken(np.rot90(RGB, -1), 2)),
    "zero-bytes.png": (b"", Left("empty file")),
    "cut-short.jpg": (JPEG[: len(JPEG) // 2], Left("cut short")),
    "cut-short.png": (PNG[: len(PNG) // 2], Left("cut short")),
    "damaged.png": (PNG[:5000] + bytes([PNG[5000] ^ 255]) + PNG[5001:], Left("cannot be decoded")),
    "shopping.jpg": (b"milk, eggs, a camera\n" * 50, Left("not an image")),
    "still.png": (saved(PHOTO, "GIF"), Left("format GIF")),
    "moving.png": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), Left("format GIF")),
    "moving.webp": (saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), Left("2 pages or frames")),
    "apng.png": (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), Left("2 pages or frames")),
    "pages.tif": (saved(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), Left("2 pages or frames")),
    "transparent.png": (with_alpha(254), Left("transparent pixels")),
    "one-pixel.png": (saved(PHOTO.resize((1, 1)), "PNG"), Left("1 x 1 pixels: the shorter side is under 64")),
    "200-megapixels.png": (one_bit_png(20_000, 10_000, 10_000), Left("more than 100000000 pixels")),
    "4-gigapixels.png": (one_bit_png(65_000, 65_000, 1), Left("more than 100000000 pixels")),
    "120-megapixels.png": (one_bit_png(12_000, 10_000, 1), Left("12000 x 10000 is more than 100000000 pixels")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "photos"
    folder.mkdir()
    for name, (data, _) in TABLE.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def ingested(folder: Path) -> tuple[FolderArtifact, dict[str, str]]:
    run = run_stage(IngestImages, folder.parent / "run", {"source": str(folder), "buckets": 2})
    rejected = json.loads(run.artifacts["rejected"].open("rejected.json").read_bytes())
    return run.artifacts["images"], {item["name"]: item["reason"] for item in rejected}


@pytest.fixture(scope="module")
def hr_images(ingested: tuple[FolderArtifact, dict[str, str]], folder: Path) -> dict[str, Pixels]:
    """The HR image of every file that was taken in, by the file's name: whole, nothing but decoded."""
    images, _ = ingested
    names = {row["image"]: row["name"] for row in images.table().to_pylist()}
    pairs = synthesise(folder.parent / "pairs", images, preset="bicubic", hr_size="whole", crops=1)
    index = SampleIndex.from_artifact(pairs)
    return {names[image]: index.read_pair(i)[1] for i, image in enumerate(index.column("image"))}


@pytest.mark.parametrize("name", TABLE)
def test_outcome(name: str, ingested: tuple[FolderArtifact, dict[str, str]], hr_images: dict[str, Pixels]) -> None:
    outcome, (_, reasons) = TABLE[name][1], ingested
    if isinstance(outcome, Left):
        assert outcome.reason in reasons[name]
        assert name not in hr_images
        return
    assert name not in reasons
    hr = hr_images[name]
    assert hr.shape == outcome.pixels.shape
    assert np.abs(hr.astype(int) - outcome.pixels).mean() <= outcome.tolerance


def test_files_that_cannot_be_opened_end_the_stage(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(StageError, match=r"gone.png could not be looked at: No such file"):
        IngestImages.list_sources(IngestImages.Config(source=str(tmp_path)))


PROGRAM = """
import sys; from pathlib import Path; from tests.support.harness import run_stage
from stages.ingest.images import IngestImages
run_stage(IngestImages, Path(sys.argv[1]), {"source": sys.argv[2], "max_pixels": 20_000_000})
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_what_is_too_large_is_neither_decoded_nor_read(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()

    def peak_megabytes(run: str) -> float:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / run), str(photos)]
        return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout) / 1024

    (photos / "plain.png").write_bytes(PNG)
    usual = peak_megabytes("usual")
    (photos / "200-megapixels.png").write_bytes(TABLE["200-megapixels.png"][0])
    with (photos / "film.jpg").open("wb") as film:
        film.truncate(250_000_000)  # a hole: it takes no room on the disk
    large = peak_megabytes("large")
    assert large < usual + 60  # the picture decodes to 600 MB and the film is 250
    reasons = json.loads((tmp_path / "large/out/rejected/rejected.json").read_text())
    assert [item["name"] for item in reasons] == ["200-megapixels.png", "film.jpg"]
