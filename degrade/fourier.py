"""Correlation by the discrete Fourier transform, for kernels too large to apply tap by tap and of no low rank."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def correlate(image: Image, kernel: NDArray[np.float32]) -> Image:
    """Correlate float32 [h, w, 3] with an odd square `kernel`; borders reflect without repeating the edge.

    One plane after the other in one buffer, which the transforms use in place and a cache can hold; OpenCV's
    filter2D cuts the image into DFT blocks of unlucky sizes and takes two to four times as long. Off by no more than
    1e-3 code values for kernels whose absolute values sum to 1.
    """
    (height, width), size = image.shape[:2], kernel.shape[0]
    half = size // 2
    shape = cv2.getOptimalDFTSize(height + size - 1), cv2.getOptimalDFTSize(width + size - 1)
    spectrum = np.zeros(shape, dtype=np.float32)
    spectrum[:size, :size] = kernel
    cv2.dft(spectrum, dst=spectrum)
    result, plane, buffer = np.empty_like(image), np.empty((height, width), np.float32), np.empty(shape, np.float32)
    below, right = shape[0] - height - half, shape[1] - width - half
    for channel in range(image.shape[2]):
        cv2.extractChannel(image, channel, dst=plane)
        cv2.copyMakeBorder(plane, half, below, half, right, cv2.BORDER_REFLECT_101, dst=buffer)
        cv2.dft(buffer, dst=buffer)
        cv2.mulSpectrums(buffer, spectrum, 0, c=buffer, conjB=True)
        cv2.idft(buffer, dst=buffer, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        cv2.insertChannel(buffer[:height, :width], result, channel)
    return result
