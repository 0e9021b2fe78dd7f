"""Random covariances of three channels, and noise that has them (BSRGAN's channel-correlated Gaussian noise).

What is recorded is drawn with additions, multiplications, divisions and square roots of Python's floats alone, which
are exactly rounded everywhere: a recipe does not depend on a linear algebra library.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

from degrade.philox import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Matrix: TypeAlias = list[list[float]]
_AXES: Final = range(3)
_PAIRS: Final = ((0, 1), (0, 2), (1, 2))


def draw_covariance(stream: Stream, sigma: float) -> Matrix:
    """A covariance [3][3] in squared units of `sigma`: the magnitudes of U' D U.

    D are three uniform eigenvalues and U the left singular vectors of a matrix of uniform values. The magnitudes of a
    positive semi-definite matrix of three rows are one too (its determinant does not fall).
    """
    values = [stream.unit() for _ in _AXES]
    entries = [[stream.unit() for _ in _AXES] for _ in _AXES]
    squared = [[sum(a * b for a, b in zip(row, other, strict=True)) for other in entries] for row in entries]
    strengths, basis = eigen(squared)
    order = sorted(_AXES, key=lambda place: -strengths[place])
    mixed = [[sum(values[k] * basis[k][i] * basis[k][j] for k in _AXES) for j in order] for i in order]
    return [[sigma * sigma * abs(value) for value in row] for row in mixed]


def eigen(symmetric: Matrix) -> tuple[list[float], Matrix]:
    """Eigenvalues and eigenvectors (columns of [3][3]) of a symmetric matrix, by Jacobi's rotations."""
    a = [row[:] for row in symmetric]
    vectors = [[float(i == j) for j in _AXES] for i in _AXES]
    for _ in range(12):  # convergence is quadratic: six sweeps are enough for the last bit
        for p, q in _PAIRS:
            if a[p][q] != 0.0:
                _rotate(a, vectors, p, q)
    return [a[i][i] for i in _AXES], vectors


def _rotate(a: Matrix, vectors: Matrix, p: int, q: int) -> None:
    """Turn the plane of axes p and q so that a[p][q] becomes 0."""
    half = (a[q][q] - a[p][p]) / (2.0 * a[p][q])
    tangent = math.copysign(1.0, half) / (abs(half) + math.sqrt(half * half + 1.0))
    cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
    sine = tangent * cosine
    for row in (*a, *vectors):
        row[p], row[q] = cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]
    a[p], a[q] = (
        [cosine * x - sine * y for x, y in zip(a[p], a[q], strict=True)],
        [sine * x + cosine * y for x, y in zip(a[p], a[q], strict=True)],
    )
    a[p][q] = a[q][p] = 0.0


def factor(covariance: Matrix) -> Matrix:
    """Lower triangular L with L L' = `covariance` (Cholesky); a direction without variance gets zeros."""
    lower = [[0.0] * 3 for _ in _AXES]
    floor = 1e-12 * max(covariance[i][i] for i in _AXES)
    for i in _AXES:
        for j in range(i + 1):
            rest = covariance[i][j] - sum(lower[i][k] * lower[j][k] for k in range(j))
            if i == j:
                lower[i][i] = math.sqrt(rest) if rest > floor else 0.0
            else:
                lower[i][j] = rest / lower[j][j] if lower[j][j] > 0.0 else 0.0
    return lower


def add_correlated(image: NDArray[np.float32], covariance: Matrix, key: str) -> NDArray[np.float32]:
    """Add Gaussian noise of `covariance` (RGB, squared code values) to [h, w, 3] in place, and clip to 0..255."""
    import cv2
    import numpy as np

    from degrade.noise import bits, normal_quantiles

    field = np.take(normal_quantiles(), bits(key, image.shape))
    image += cv2.transform(field, np.array(factor(covariance), dtype=np.float32))
    return np.clip(image, 0.0, 255.0, out=image)
