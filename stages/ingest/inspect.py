"""Is this file a photograph that a model can be trained on? Decided once, when it enters."""

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


def inspect(data: bytes, *, min_size: int, max_pixels: int) -> Photo:
    """Decode `data` once and describe it. Raises :class:`Rejected`.

    Taken in: gray, 16-bit (the high byte counts), CMYK, rotated by EXIF, opaque alpha (see
    `stages.data.pixels` for what becomes of each). Broken: empty, cut short or damaged files, other formats than
    JPEG, PNG, WebP, BMP and TIFF, animations, transparent pixels (they have no colour), more than `max_pixels`.
    Small: a shorter side under `min_size` pixels.
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
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise Rejected("broken", f"more than {max_pixels} pixels") from error
    except Exception as error:  # Pillow's parsers raise many types on hostile bytes; all mean the same here
        raise Rejected("broken", "not an image in a known format") from error
    return _accept_header(image, pages, max_pixels), image.has_transparency_data


def _accept_header(image: Image, pages: int, max_pixels: int) -> str:
    ext = _EXTENSIONS.get(image.format or "")
    if ext is None:
        raise Rejected("broken", f"format {image.format}: expected one of {', '.join(sorted(set(_EXTENSIONS)))}")
    if image.width * image.height > max_pixels:
        raise Rejected("broken", f"{image.width} x {image.height} is more than {max_pixels} pixels")
    if pages > 1:
        raise Rejected("broken", f"{pages} pages or frames: expected one picture")
    return ext


def _check_opaque(data: bytes) -> None:
    import cv2
    import numpy as np

    pixels = decode(data, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] == 4 and pixels[..., 3].min() < np.iinfo(pixels.dtype).max:
        raise Rejected("broken", "transparent pixels: they have no colour; flatten the image first")
