"""Pixels to bytes: lossless and lossy encoders with pinned settings, so that equal pixels give equal bytes.

Measured at 256 x 256 on four photographs (one core of a server Xeon, encode and decode in milliseconds):

=============  =======  ======  ======
format         encode   decode      KB
=============  =======  ======  ======
png                2.3     1.4     112
webp               2.4     1.2      89
webp, 95           2.9     1.2      21
jpeg, 95           0.4     0.5      33
=============  =======  ======  ======

Lossless WebP at its least effort takes a fifth less room than PNG at the same cost; its higher efforts save
another tenth for 4 to 25 times the CPU. Lossy WebP always halves the resolution of colour (39.0 dB at 95), JPEG is
written with full chroma (41.6 dB at 95).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal

from stages.data.pixels import encode_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Format = Literal["png", "webp", "jpeg"]
EXTENSION: Final[dict[Format, str]] = {"png": "png", "webp": "webp", "jpeg": "jpg"}
_LONGEST: Final[dict[Format, int]] = {"webp": 16_383, "jpeg": 65_500}

_PLAIN: Final[dict[str, str]] = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_ORIENTATION: Final = 0x0112
_PNG_DEPTH: Final = 24  # where bits a channel stand: signature 8, length and name of IHDR 8, width and height 8


class Unencodable(ValueError):
    """The format has no room for an image of this size."""


def encode(rgb: NDArray[np.uint8], kind: Format, quality: int | None = None) -> bytes:
    """Encode uint8 RGB [height, width, 3].

    `quality` (1..100) makes WebP lossy and is required for JPEG (ValueError without); PNG has none. Raises
    :class:`Unencodable` for sides over 16,383 pixels (WebP) or 65,500 (JPEG).
    """
    longest = _LONGEST.get(kind)
    if longest is not None and max(rgb.shape) > longest:
        raise Unencodable(
            f"{rgb.shape[1]} x {rgb.shape[0]} pixels: {kind} holds at most {longest} a side; store it as png"
        )
    if kind == "png":
        return encode_png(rgb)
    if kind == "webp":
        return _encode_webp(rgb, quality)
    if quality is None:
        raise ValueError("jpeg has no lossless form: give a quality")
    return _encode_jpeg(rgb, quality)


def _encode_webp(rgb: NDArray[np.uint8], quality: int | None) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    lossless = quality is None  # where it is, Pillow's quality is effort
    Image.fromarray(rgb).save(out, "WEBP", lossless=lossless, quality=quality or 0, method=0)
    return out.getvalue()


def _encode_jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    import cv2

    full_chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality, *full_chroma]
    )
    if not done:
        raise ValueError(f"cv2 refused to encode an array of shape {rgb.shape} and type {rgb.dtype} as JPEG")
    return data.tobytes()


def plain_extension(data: bytes) -> str | None:
    """``jpg``, ``png`` or ``webp`` for an image that every decoder reads alike, else None.

    Plain is 8-bit gray or RGB with normal EXIF orientation. CMYK, 16 bits, palettes, alpha and rotation are left to
    a reader's taste, so those are not, nor is a PNG with a transparent colour (tRNS). Only the header is read.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            plain = image.mode in ("RGB", "L") and "transparency" not in image.info
            plain = plain and image.getexif().get(_ORIENTATION, 1) == 1
            if image.format == "PNG":  # Pillow calls 16 bits a channel RGB too, and 2 or 4 bits of gray L
                plain = plain and data[_PNG_DEPTH] == 8
            return _PLAIN.get(image.format or "") if plain else None
    except Exception:  # Pillow's parsers raise many types; what it cannot read is not plain
        return None
