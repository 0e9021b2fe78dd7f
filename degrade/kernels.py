"""Blur kernels of Real-ESRGAN (Wang et al. 2021, section 3.2): Gaussian, generalised, plateau and sinc.

All return float64 [size, size] with sum 1. `sigma` in pixels, `theta` in radians, `omega` the cut-off in radians per
pixel; x runs along columns, y along rows. Equal to basicsr's kernels to 1e-6 (tested), which are padded to 21 there.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64]


def axis(size: int) -> NDArray[np.float64]:
    """Coordinates of the taps of an odd `size`, centred on zero."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel size is odd and positive, got {size}")
    return np.arange(size, dtype=np.float64) - size // 2


def gaussian_taps(size: int, sigma: float) -> NDArray[np.float64]:
    """[size]: the one-dimensional factor of an isotropic Gaussian kernel, sum 1."""
    taps: NDArray[np.float64] = np.exp(-0.5 * (axis(size) / sigma) ** 2)
    return _normalised(taps)


def mahalanobis(size: int, sigma_x: float, sigma_y: float, theta: float) -> Kernel:
    """[size, size]: x^T S^-1 x for S = R(theta) diag(sigma_x^2, sigma_y^2) R(theta)^T."""
    coordinates = axis(size)
    x, y = coordinates[None, :], coordinates[:, None]
    cosine, sine = math.cos(theta), math.sin(theta)
    along = (cosine * x + sine * y) / sigma_x
    across = (cosine * y - sine * x) / sigma_y
    return along * along + across * across


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float = 1.0) -> Kernel:
    """exp(-q^beta / 2) over the Mahalanobis square q; beta 1 is the Gaussian, others the generalised Gaussian."""
    return _normalised(np.exp(-0.5 * mahalanobis(size, sigma_x, sigma_y, theta) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Kernel:
    """1 / (1 + q^beta) over the Mahalanobis square q."""
    return _normalised(1.0 / (1.0 + mahalanobis(size, sigma_x, sigma_y, theta) ** beta))


def sinc(size: int, omega: float) -> Kernel:
    """The circular low-pass omega J1(omega r) / (2 pi r), which has negative lobes."""
    from scipy.special import j1

    coordinates = axis(size)
    radius = np.hypot(coordinates[None, :], coordinates[:, None])
    radius[size // 2, size // 2] = 1.0
    kernel = omega * j1(omega * radius) / (2.0 * math.pi * radius)
    kernel[size // 2, size // 2] = omega * omega / (4.0 * math.pi)  # the limit at r = 0
    return _normalised(kernel)


def trimmed(kernel: Kernel, tolerance: float = 1e-5) -> Kernel:
    """Drop the outer rings whose weights sum to less than `tolerance` (in absolute value), and normalise again.

    A sigma of 0.4 in 21 x 21 taps is a 5 x 5 kernel: what is dropped moves no pixel by more than 255 * tolerance.
    """
    half = kernel.shape[0] // 2
    distance = np.abs(axis(kernel.shape[0])).astype(np.intp)
    rings = np.maximum(distance[:, None], distance[None, :])
    mass = np.bincount(rings.ravel(), np.abs(kernel).ravel())
    outside = np.cumsum(mass[:0:-1])  # of the last ring, the last two, and so on; the centre stays
    drop = int(np.count_nonzero(outside <= tolerance))
    size = 2 * half + 1
    return _normalised(kernel[drop : size - drop, drop : size - drop])


def trimmed_taps(taps: NDArray[np.float64], tolerance: float = 1e-5) -> NDArray[np.float64]:
    """:func:`trimmed` for one dimension."""
    magnitude = np.abs(taps)
    tails = np.cumsum(magnitude)[: len(taps) // 2] * 2
    drop = int(np.count_nonzero(tails <= tolerance))
    kept = taps[drop : len(taps) - drop]
    return _normalised(kept)


def low_rank(kernel: Kernel, most: int, tolerance: float) -> tuple[Kernel, Kernel] | None:
    """Factors ([rank, size], [rank, size]) of columns and rows whose outer products sum to `kernel`.

    None when the kernel is not symmetric about its centre, or when more than `most` are needed to leave out no more
    than `tolerance` in absolute values. A kernel that is symmetric about its centre maps even functions to even ones
    and odd ones to odd ones, so its two halves are decomposed by themselves: every factor is then exactly
    symmetric or antisymmetric, which a filter applies at half the cost of a general one.
    """
    if np.abs(kernel - kernel[::-1, ::-1]).max() > 1e-12:
        return None
    parts = [_decomposed(kernel, basis) for basis in _even_and_odd(kernel.shape[0])]
    values, columns, rows = (np.concatenate([part[index] for part in parts]) for index in range(3))
    order = np.argsort(-values, kind="stable")
    if np.linalg.norm(values[order[most:]]) > tolerance:  # the Frobenius norm of the rest, which its sum exceeds
        return None
    strongest = order[:most]
    columns, rows = columns[strongest] * values[strongest, None], rows[strongest]
    rest = np.abs(kernel - np.cumsum(columns[:, :, None] * rows[:, None, :], axis=0)).sum(axis=(1, 2))
    enough = np.flatnonzero(rest <= tolerance)
    return (columns[: enough[0] + 1], rows[: enough[0] + 1]) if enough.size else None


def _decomposed(kernel: Kernel, basis: Kernel) -> tuple[Kernel, Kernel, Kernel]:
    """Singular values, columns and rows [count, size] of `kernel` among the functions of `basis` [count, size]."""
    left, values, right = np.linalg.svd(basis @ kernel @ basis.T)
    return values, left.T @ basis, right @ basis


@lru_cache(maxsize=64)
def _even_and_odd(size: int) -> tuple[Kernel, Kernel]:
    """Orthonormal bases [count, size] of the even and of the odd functions on an odd number of taps."""
    half = size // 2
    side = np.eye(half, size) * math.sqrt(0.5)
    centre = np.eye(1, size, half)
    return np.concatenate([side + side[:, ::-1], centre]), side - side[:, ::-1]


def _normalised(weights: Kernel) -> Kernel:
    normalised: Kernel = weights / weights.sum()
    return normalised
