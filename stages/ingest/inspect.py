"""Is this file a photograph that a model can be trained on? Decided once, when it enters.

=====================================================  ==========================================================
file                                                   outcome
=====================================================  ==========================================================
JPEG (progressive too), PNG, WebP, BMP, TIFF           taken in as 8-bit RGB, whatever the suffix says
gray, 1-bit, palette                                   taken in: gray in three channels, palette colours looked up
16-bit                                                 taken in: the high byte counts
CMYK                                                   taken in: the plain formula, no ICC profile
turned by EXIF                                         taken in upright
alpha, opaque everywhere                               taken in without it
alpha, transparent somewhere                           broken: such pixels have no colour
empty, cut short, damaged, no image at all             broken
GIF and other formats                                  broken
animations (APNG, WebP), several pages (TIFF)          broken: which picture is meant?
more than `max_pixels` (100 million unless stated)     broken, by the header: it is never decoded
larger than `max_pixels` could need in any format      broken, by its size: it is never read
a side under `min_size` pixels (64 unless stated)      small
a file that cannot be opened (rights, dangling link)   the stage fails and names it: its bytes are unknown
=====================================================  ==========================================================

Broken and small files are listed in ``rejected.json`` with the reason, or end the stage (`on_broken`, `on_small`).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stages.data.pixels import Undecodable, decode, decode_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 178_956_970
"""The most pixels that can be allowed: beyond it Pillow refuses to look at an image at all."""

_MOST_BYTES_PER_PIXEL = 8  # four channels of 16 bits, not compressed
_METADATA = 64 << 20

_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}


@dataclass(frozen=True, slots=True)
class Photo:
    """What the decoder sees: `width` and `height` in pixels after EXIF orientation; `ext` from the content."""

    ext: str
    width: int
    height: int


class Rejected(Exception):
    """An image that is not taken in. `kind` says which policy decides what happens then."""

    def __init__(self, kind: Literal["broken", "small"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def refuse_size(size: int, max_pixels: int) -> None:
    """Raise :class:`Rejected` for a file of more bytes than an image of `max_pixels` can take: a film, an archive."""
    most = max_pixels * _MOST_BYTES_PER_PIXEL + _METADATA
    if size > most:
        raise Rejected("broken", f"{size} bytes: no image of at most {max_pixels} pixels takes more than {most}")


def inspect(data: bytes, *, min_size: int, max_pixels: int) -> Photo:
    """Decode `data` once and describe it. Raises :class:`Rejected`, before decoding where the header is enough.

    What is taken in and what is not: the table above. What becomes of unusual pixels: `stages.data.pixels`.
    """
    if not data:
        raise Rejected("broken", "empty file")
    ext, transparent = _look_at_header(data, max_pixels)
    try:
        if transparent:
            _check_opaque(data)
        height, width = decode_rgb(data).shape[:2]
    except Undecodable as error:
        raise Rejected("broken", str(error)) from error
    if min(width, height) < min_size:
        raise Rejected("small", f"{width} x {height} pixels: the shorter side is under {min_size}")
    return Photo(ext, width, height)


def _look_at_header(data: bytes, max_pixels: int) -> tuple[str, bool]:
    """(extension, whether there is an alpha channel), refusing what must not even be decoded."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            ext = _accept_header(image, max_pixels)
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            transparent = image.has_transparency_data
    except Rejected:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("broken", f"more than {max_pixels} pixels") from error
    except Exception as error:  # Pillow's parsers raise many types on hostile bytes; all mean the same here
        raise Rejected("broken", "not an image in a known format") from error
    if pages > 1:
        raise Rejected("broken", f"{pages} pages or frames: expected one picture")
    return ext, transparent


def _accept_header(image: Image, max_pixels: int) -> str:
    ext = _EXTENSIONS.get(image.format or "")
    if ext is None:
        raise Rejected("broken", f"format {image.format}: expected one of {', '.join(sorted(set(_EXTENSIONS)))}")
    if image.width * image.height > max_pixels:
        raise Rejected("broken", f"{image.width} x {image.height} is more than {max_pixels} pixels")
    return ext


def _check_opaque(data: bytes) -> None:
    import cv2
    import numpy as np

    pixels = decode(data, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] == 4 and pixels[..., 3].min() < np.iinfo(pixels.dtype).max:
        raise Rejected("broken", "transparent pixels: they have no colour; flatten the image first")
