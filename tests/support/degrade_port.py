"""The same degradation as a competent engineer ports it to OpenCV and NumPy in an afternoon: one image at a time.

Padded 21 x 21 kernels through filter2D, the 51-tap Gaussian through GaussianBlur, NumPy's noise, OpenCV's JPEG. It is
what a user would write instead of our engine, and the middle rung of the benchmark.
"""

from __future__ import annotations

import random

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.basicsr_reference import draw_factor, draw_kernel, draw_sinc

Image = NDArray[np.float32]
MODES = [cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]


def port(photo: NDArray[np.uint8], sharpen: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(hr, lr) of a crop uint8 [h, w, 3], at scale 4; h and w are multiples of 4."""
    height, width = photo.shape[0] // 4, photo.shape[1] // 4
    start = photo.astype(np.float32) / 255
    if sharpen:
        start = usm(start)
    factor = draw_factor([0.2, 0.7, 0.1], [0.15, 1.5])
    image = resize(blur(start, draw_kernel([0.2, 3])), int(photo.shape[0] * factor), int(photo.shape[1] * factor))
    image = jpeg(noise(image, (1, 30), (0.05, 3)))
    if random.random() < 0.8:
        image = blur(image, draw_kernel([0.2, 1.5]))
    factor = draw_factor([0.3, 0.4, 0.3], [0.3, 1.2])
    image = noise(resize(image, int(height * factor), int(width * factor)), (1, 25), (0.05, 2.5))
    if random.random() < 0.5:
        image = jpeg(blur(resize(image, height, width), draw_sinc()))
    else:
        image = blur(resize(jpeg(image), height, width), draw_sinc())
    return to_uint8(start), to_uint8(image)


def usm(image: Image) -> Image:
    """Unsharp masking with radius 50, weight 0.5 and threshold 10."""
    residual = image - cv2.GaussianBlur(image, (51, 51), 0)
    mask = (np.abs(residual) * 255 > 10).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (51, 51), 0)
    sharp = np.clip(image + 0.5 * residual, 0, 1)
    return soft * sharp + (1 - soft) * image


def blur(image: Image, kernel: np.ndarray) -> Image:
    return cv2.filter2D(image, -1, kernel.astype(np.float32))


def resize(image: Image, height: int, width: int) -> Image:
    return cv2.resize(image, (width, height), interpolation=random.choice(MODES))


def noise(image: Image, sigma: tuple[float, float], scale: tuple[float, float]) -> Image:
    """Gaussian or Poisson noise, gray in two cases of five."""
    gray = random.random() < 0.4
    if random.random() < 0.5:
        shape = (*image.shape[:2], 1) if gray else image.shape
        added = np.random.normal(0, random.uniform(*sigma) / 255, shape).astype(np.float32)
    else:
        signal = np.clip((image * 255).round() / 255, 0, 1)
        if gray:
            signal = cv2.cvtColor(signal, cv2.COLOR_RGB2GRAY)[..., None]
        levels = 2 ** np.ceil(np.log2(len(np.unique(signal))))
        added = (np.random.poisson(signal * levels) / levels - signal).astype(np.float32) * random.uniform(*scale)
    return np.clip(image + added, 0, 1)


def jpeg(image: Image) -> Image:
    quality = random.randint(30, 95)
    data = cv2.imencode(".jpg", to_uint8(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255


def to_uint8(image: Image) -> NDArray[np.uint8]:
    return (image * 255).round().clip(0, 255).astype(np.uint8)
