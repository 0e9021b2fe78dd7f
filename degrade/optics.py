"""Point spread functions of a lens out of focus and of a camera in motion.

albumentations has both, too coarsely for us: its disc knows whole radii (1 is a plus of five pixels, of 1.6 times the
variance of the disc) and its motion kernel joins rounded points, whose length and weight depend on the angle. So a
weight here is an integral over the disc or the line. All kernels are float64 [odd, odd] with sum 1 and their centroid
on the middle tap, so that HR and LR stay registered; x runs along columns, y along rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from degrade.kernels import Kernel, gaussian_taps


def disc(radius: float, softness: float = 0.0) -> Kernel:
    """The disc of `radius` pixels: every tap weighs the area of its pixel that the disc covers.

    `softness` is the sigma in pixels of a Gaussian over it (diffraction, and the rim that a lens rarely shows); 0 is
    none. Up to a radius of 0.5 the disc lies inside one pixel and is the identity.
    """
    half = math.ceil(radius - 0.5) if radius > 0.5 else 0
    edges = np.arange(-half, half + 2) - 0.5
    reached = np.sign(edges)[:, None] * np.sign(edges) * _quarter(radius, np.abs(edges)[:, None], np.abs(edges))
    kernel: Kernel = np.diff(np.diff(reached, axis=0), axis=1)
    kernel = np.maximum(kernel, 0.0) / kernel.sum()  # where the disc touches no pixel, rounding may be negative
    return _softened(kernel, softness) if softness > 0 else kernel


def _quarter(radius: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of the disc around the origin within [0, x] x [0, y]: a rectangle, and what is below the arc after it."""
    x, y = np.minimum(x, radius), np.minimum(y, radius)
    corner = np.minimum(x, _arc(radius, y))

    def below(end: NDArray[np.float64]) -> NDArray[np.float64]:
        height = _arc(radius, end)
        area: NDArray[np.float64] = (end * height + radius**2 * np.arctan2(end, height)) / 2.0
        return area

    inside: NDArray[np.float64] = corner * y + below(x) - below(corner)
    return inside


def _arc(radius: float, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The other coordinate of the circle, for `at` in [0, radius]; as a product, which rounding makes not negative."""
    height: NDArray[np.float64] = np.sqrt((radius - at) * (radius + at))
    return height


def line(length: float, theta: float, asymmetry: float = 0.0) -> Kernel:
    """A straight motion over `length` pixels in the direction `theta` (radians; the point moves along
    (cos theta, sin theta)).

    A point on the line is split among its four pixels bilinearly, and this is integrated exactly. `asymmetry` in
    [-1, 1] is a speed that changes: the exposure along the line is proportional to 1 + asymmetry * s, s from -1 at its
    start to 1 at its end, and the line is shifted so that the centroid stays. A length of 0 is the identity.
    """
    step = np.array([math.cos(theta), math.sin(theta)]) * (length / 2.0)
    shift = step * (-asymmetry / 3.0)
    half = math.ceil(float(np.max(np.abs(step) + np.abs(shift)))) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    s, weight = _nodes(step, shift)
    weight = weight * (1.0 + asymmetry * s)
    x, y = (half + shift[axis] + step[axis] * s for axis in (0, 1))
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, below = x - column, y - row
    np.add.at(kernel, (row, column), weight * (1.0 - below) * (1.0 - right))
    np.add.at(kernel, (row, column + 1), weight * (1.0 - below) * right)
    np.add.at(kernel, (row + 1, column), weight * below * (1.0 - right))
    np.add.at(kernel, (row + 1, column + 1), weight * below * right)
    normalised: Kernel = kernel / kernel.sum()
    return normalised


def _nodes(step: NDArray[np.float64], shift: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places s in [-1, 1] and weights that integrate the line exactly.

    Between two crossings of the pixel grid the integrand is a polynomial of degree three: two bilinear weights times
    the exposure. Two nodes of Gauss and Legendre are exact for it.
    """
    cuts = [np.array([-1.0, 1.0])]
    for along, offset in zip(step, shift, strict=True):
        reach = abs(along)
        if reach > 1e-9:  # a line along the other axis crosses nothing
            grid = np.arange(math.ceil(offset - reach), math.floor(offset + reach) + 1)
            cuts.append(np.clip((grid - offset) / along, -1.0, 1.0))
    ends = np.unique(np.concatenate(cuts))
    middle, width = (ends[1:] + ends[:-1]) / 2.0, (ends[1:] - ends[:-1]) / 2.0
    node = width / math.sqrt(3.0)
    return np.concatenate([middle - node, middle + node]), np.concatenate([width, width])


def _softened(kernel: Kernel, sigma: float) -> Kernel:
    """The full convolution with a Gaussian of 4 sigma on each side."""
    reach = math.ceil(4.0 * sigma)
    taps = gaussian_taps(2 * reach + 1, sigma)
    rows = np.stack([np.convolve(row, taps) for row in kernel])
    both = np.stack([np.convolve(column, taps) for column in rows.T]).T
    softened: Kernel = both / both.sum()
    return softened
