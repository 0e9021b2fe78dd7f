"""Pixels to bytes and back: what is lossless, what the lossy formats cost, and which files may be kept as they are."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.data.encoders import Unencodable, encode, plain_extension
from stages.data.pixels import decode_rgb
from tests.support.photos import bundled

PHOTO = np.asarray(Image.open(bundled("astronaut.png")).convert("RGB"))[40:296, 60:316]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("shape", [(256, 256), (1, 1), (7, 250)])
def test_lossless_formats_give_the_pixels_back_and_the_same_bytes_again(kind, shape):
    rgb = PHOTO[: shape[0], : shape[1]]
    data = encode(rgb, kind)
    np.testing.assert_array_equal(decode_rgb(data), rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), rgb)
    assert encode(np.ascontiguousarray(rgb), kind) == data


@pytest.mark.parametrize(("kind", "least", "most_bytes"), [("webp", 38, 26_000), ("jpeg", 40, 38_000)])
def test_lossy_formats_at_95(kind, least, most_bytes):
    data = encode(PHOTO, kind, 95)
    assert psnr(decode_rgb(data), PHOTO) > least
    assert len(data) < most_bytes < len(encode(PHOTO, "webp"))
    assert len(encode(PHOTO, kind, 60)) < len(data)


def test_jpeg_keeps_the_full_resolution_of_colour():
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    assert psnr(decode_rgb(encode(stripes, "jpeg", 95)), stripes) > 30  # 14 with halved colour
    with pytest.raises(ValueError, match="jpeg has no lossless form"):
        encode(stripes, "jpeg")


@pytest.mark.parametrize(("kind", "longest"), [("webp", 16_383), ("jpeg", 65_500)])
def test_what_a_format_has_no_room_for_is_said(kind, longest):
    assert encode(np.zeros((1, longest, 3), np.uint8), kind, 50)
    with pytest.raises(Unencodable, match=f"at most {longest} a side; store it as png"):
        encode(np.zeros((1, longest + 1, 3), np.uint8), kind, 50)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


IMAGE = Image.fromarray(PHOTO)
KEPT = {
    "png": (saved(IMAGE, "PNG"), "png"),
    "jpeg": (saved(IMAGE, "JPEG"), "jpg"),
    "progressive jpeg": (saved(IMAGE, "JPEG", progressive=True), "jpg"),
    "webp": (saved(IMAGE, "WEBP"), "webp"),
    "gray": (saved(IMAGE.convert("L"), "PNG"), "png"),
    "rotated": (saved(IMAGE, "JPEG", exif=turned()), None),
    "CMYK": (saved(IMAGE.convert("CMYK"), "JPEG"), None),
    "palette": (saved(IMAGE.convert("P"), "PNG"), None),
    "alpha": (saved(IMAGE.convert("RGBA"), "PNG"), None),
    "16 bits": (saved(Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257), "PNG"), None),
    "16 bits RGB": (cv2.imencode(".png", PHOTO.astype(np.uint16) * 257)[1].tobytes(), None),
    "4 bits": (saved(IMAGE.convert("L"), "PNG", bits=4), None),
    "transparent colour": (saved(IMAGE, "PNG", transparency=(1, 2, 3)), None),
    "transparent gray": (saved(IMAGE.convert("L"), "PNG", transparency=7), None),
    "tiff": (saved(IMAGE, "TIFF"), None),
    "no image": (b"no image", None),
}


@pytest.mark.parametrize("case", KEPT)
def test_plain_files_are_those_that_every_reader_decodes_alike(case):
    data, extension = KEPT[case]
    assert plain_extension(data) == extension
    if extension:
        other = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert np.abs(decode_rgb(data) - other).max() <= (0 if extension == "png" else 3)
