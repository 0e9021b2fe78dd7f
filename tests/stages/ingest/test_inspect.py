"""What happens to every kind of file that people have in their photo folders."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stages.data.pixels import decode_rgb
from stages.ingest.inspect import Photo, Rejected, inspect
from tests.support.photos import bundled

PHOTO = Image.open(bundled("coffee.png")).convert("RGB")
PNG = bundled("coffee.png").read_bytes()
JPEG = bundled("rocket.jpg").read_bytes()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_alpha(lowest: int) -> Image.Image:
    image = PHOTO.convert("RGBA")
    alpha = np.full((PHOTO.height, PHOTO.width), 255, np.uint8)
    alpha[10, 10] = lowest
    image.putalpha(Image.fromarray(alpha))
    return image


def rotated_by_exif(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(PHOTO, kind, exif=exif)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def look(data: bytes, *, min_size: int = 64, max_pixels: int = 100_000_000) -> Photo:
    return inspect(data, min_size=min_size, max_pixels=max_pixels)


SIXTEEN_BIT = Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257)
ACCEPTED = {
    "png": (PNG, Photo("png", 600, 400)),
    "jpeg": (JPEG, Photo("jpg", 640, 427)),
    "webp": (encoded(PHOTO, "WEBP"), Photo("webp", 600, 400)),
    "tiff": (encoded(PHOTO, "TIFF"), Photo("tif", 600, 400)),
    "bmp": (encoded(PHOTO, "BMP"), Photo("bmp", 600, 400)),
    "gray": (encoded(PHOTO.convert("L"), "PNG"), Photo("png", 600, 400)),
    "palette": (encoded(PHOTO.convert("P"), "PNG"), Photo("png", 600, 400)),
    "16-bit": (encoded(SIXTEEN_BIT, "PNG"), Photo("png", 600, 400)),
    "CMYK": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), Photo("jpg", 600, 400)),
    "opaque alpha": (encoded(with_alpha(255), "PNG"), Photo("png", 600, 400)),
    "EXIF-rotated jpeg": (rotated_by_exif("JPEG"), Photo("jpg", 400, 600)),
    "EXIF-rotated png": (rotated_by_exif("PNG"), Photo("png", 400, 600)),
    "EXIF-rotated webp": (rotated_by_exif("WEBP"), Photo("webp", 400, 600)),
}
FRAMES = [PHOTO.resize((80, 80)), PHOTO.resize((80, 80)).rotate(90)]
BROKEN = {
    "zero bytes": (b"", "empty"),
    "text": (b"not an image at all\n" * 20, "known format"),
    "half a png": (PNG[: len(PNG) // 2], "cut short"),
    "png without its end": (PNG[:-12], "cut short"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "cut short"),
    "jpeg without its end": (JPEG[:-2], "cut short"),
    "half a webp": (encoded(PHOTO, "WEBP")[:9000], "decoded|known format"),
    "half a tiff": (encoded(PHOTO, "TIFF")[:9000], "decoded|known format"),
    "one flipped byte in a png": (PNG[:99_999] + bytes([PNG[99_999] ^ 255]) + PNG[100_000:], "cannot be decoded"),
    "gif": (encoded(PHOTO, "GIF"), "format GIF"),
    "float tiff": (encoded(PHOTO.convert("F"), "TIFF"), "cannot be decoded"),
    "transparent png": (encoded(with_alpha(254), "PNG"), "transparent"),
    "transparent gray": (encoded(with_alpha(0).convert("LA"), "PNG"), "transparent"),
    "transparent palette": (encoded(PHOTO.convert("P"), "PNG", transparency=0), "transparent"),
    "animation": (encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "2 pages or frames"),
    "120 megapixels": (png_that_claims(12_000, 10_000), "more than 100000000 pixels"),
    "200 megapixels": (png_that_claims(20_000, 10_000), "more than 100000000 pixels"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_is_taken_in(case):
    data, expected = ACCEPTED[case]
    assert look(data) == expected
    assert decode_rgb(data).shape == (expected.height, expected.width, 3)


@pytest.mark.parametrize("case", BROKEN)
def test_is_refused(case):
    data, reason = BROKEN[case]
    with pytest.raises(Rejected, match=reason) as caught:
        look(data)
    assert caught.value.kind == "broken"


def test_small_is_not_broken():
    with pytest.raises(Rejected, match="600 x 400 pixels: the shorter side is under 401") as caught:
        look(PNG, min_size=401)
    assert caught.value.kind == "small"
    with pytest.raises(Rejected, match="1 x 1"):
        look(encoded(PHOTO.resize((1, 1)), "PNG"))


def test_pixels_of_unusual_images():
    plain = np.asarray(PHOTO)
    gray = np.asarray(PHOTO.convert("L"))
    np.testing.assert_array_equal(decode_rgb(PNG), plain)
    np.testing.assert_array_equal(decode_rgb(ACCEPTED["opaque alpha"][0]), plain)
    np.testing.assert_array_equal(decode_rgb(ACCEPTED["gray"][0]), np.repeat(gray[..., None], 3, 2))
    np.testing.assert_array_equal(decode_rgb(ACCEPTED["16-bit"][0])[..., 0], gray)
    np.testing.assert_array_equal(decode_rgb(ACCEPTED["EXIF-rotated png"][0]), np.rot90(plain, -1))
    cmyk = decode_rgb(ACCEPTED["CMYK"][0]).astype(int)
    assert abs(cmyk - plain).mean() < 3
