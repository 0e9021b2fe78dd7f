"""Rounding to 8 bits, and round trips through image codecs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.errors import DegradeError


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round float32 code values to uint8, half to even, saturating at 0 and 255."""
    rounded = cv2.addWeighted(image, 1.0, image, 0.0, 0.0, dtype=cv2.CV_8U)  # OpenCV's one pass that does all of it
    return np.asarray(rounded, dtype=np.uint8)


def jpeg(image: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """One JPEG round trip of RGB float32 [h, w, 3] at `quality` (1..100), 4:2:0 with libjpeg's smooth up-sampling."""
    pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DegradeError(f"OpenCV could not encode a {image.shape[1]} x {image.shape[0]} image as JPEG")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # it was encoded two lines above
    return decoded.astype(np.float32)


def webp(image: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """One lossy WebP round trip of RGB float32 [h, w, 3] at `quality` (1..100): VP8, 4:2:0, libwebp's method 4.

    Sides of at most 16383 pixels, WebP's limit; :class:`DegradeError` beyond. albumentations' compression is not used:
    it hands RGB to a codec that takes BGR, which spends the bits for red on blue.
    """
    height, width = image.shape[:2]
    if max(height, width) > 16383:
        raise DegradeError(f"WebP holds sides of at most 16383 pixels, got {width} x {height}; cut smaller crops")
    pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    lossy = [cv2.IMWRITE_WEBP_QUALITY, quality, cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_OFF]
    done, data = cv2.imencode(".webp", pixels, lossy)
    if not done:
        raise DegradeError(f"OpenCV could not encode a {width} x {height} image as WebP")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was encoded three lines above
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.float32)
