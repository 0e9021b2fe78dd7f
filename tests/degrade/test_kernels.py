"""Kernels and filters against basicsr and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade import filters, kernels
from degrade.basicsr_compat import degradations
from degrade.fourier import correlate
from degrade.operators.blur import FAMILIES, BlurDraw

SIZES = st.integers(1, 10).map(lambda half: 2 * half + 1)
SIGMAS = st.floats(0.2, 3.0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FAMILIES), SIZES, SIGMAS, SIGMAS, st.floats(-math.pi, math.pi), st.floats(0.5, 4.0))
def test_kernels_equal_basicsr(family, size, sigma_x, sigma_y, theta, beta):
    reference = degradations()
    isotropic = not family.endswith("aniso")
    arguments = {"isotropic": isotropic}
    parameters = {"sigma_x": sigma_x}
    if not isotropic:
        parameters |= {"sigma_y": sigma_y, "theta": theta}
    if family.startswith("generalized"):
        parameters |= {"beta": beta}
        expected = reference.bivariate_generalized_Gaussian(size, sigma_x, sigma_y, theta, beta, **arguments)
    elif family.startswith("plateau"):
        parameters |= {"beta": beta}
        expected = reference.bivariate_plateau(size, sigma_x, sigma_y, theta, beta, **arguments)
    else:
        expected = reference.bivariate_Gaussian(size, sigma_x, sigma_y, theta, **arguments)
    kernel = BlurDraw(id="blur1", family=family, size=size, **parameters).kernel()
    np.testing.assert_allclose(kernel, expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.floats(math.pi / 5, math.pi))
def test_sinc_kernels_equal_basicsr(size, omega):
    expected = degradations().circular_lowpass_kernel(omega, size)
    np.testing.assert_allclose(kernels.sinc(size, omega), expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIGMAS)
def test_trimming_drops_next_to_nothing_and_keeps_the_sum(size, sigma):
    full = kernels.gaussian(size, sigma, sigma, 0.0)
    kept = kernels.trimmed(full)
    ring = (size - kept.shape[0]) // 2
    assert kept.shape[0] % 2 == 1
    assert kept.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.abs(np.pad(kept, ring) - full).sum() < 2.1e-5
    taps = kernels.gaussian_taps(size, sigma)
    line = kernels.trimmed_taps(taps)
    assert np.abs(np.pad(line, (size - len(line)) // 2) - taps).sum() < 2.1e-5


def test_a_small_sigma_becomes_a_small_kernel():
    assert kernels.trimmed(kernels.gaussian(21, 0.5, 0.5, 0.0)).shape == (5, 5)
    assert kernels.trimmed_taps(kernels.gaussian_taps(21, 0.5)).shape == (5,)
    assert kernels.trimmed(kernels.gaussian(21, 0.1, 0.1, 0.0)).shape == (1, 1)


def correlated(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A sum over shifted copies, in float64."""
    (height, width), size = image.shape[:2], len(kernel)
    padded = np.pad(image.astype(np.float64), ((size // 2,) * 2, (size // 2,) * 2, (0, 0)), mode="reflect")
    return sum(
        kernel[row, column] * padded[row : row + height, column : column + width]
        for row in range(size)
        for column in range(size)
    )


@pytest.mark.parametrize("family", [*FAMILIES, "sinc"])
@pytest.mark.parametrize("size", [7, 13, 21])
@pytest.mark.parametrize("shape", [(40, 52), (163, 170)])
def test_every_filter_path_equals_a_direct_correlation(family, size, shape):
    """Separable, direct, low-rank (large images only) and DFT paths, to a tenth of a code value."""
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.float32)
    parameters = {
        "sinc": {"omega": 1.3},
        "iso": {"sigma_x": 2.0},
        "aniso": {"sigma_x": 2.8, "sigma_y": 0.9, "theta": 0.6},
        "generalized_iso": {"sigma_x": 2.0, "beta": 0.7},
        "generalized_aniso": {"sigma_x": 2.8, "sigma_y": 0.9, "theta": 0.6, "beta": 2.0},
        "plateau_iso": {"sigma_x": 2.0, "beta": 1.5},
        "plateau_aniso": {"sigma_x": 2.8, "sigma_y": 0.9, "theta": 0.6, "beta": 1.5},
    }[family]
    draw = BlurDraw(id="blur1", family=family, size=size, **parameters)
    assert np.abs(draw.render(image.copy()) - correlated(image, draw.kernel())).max() < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (70, 3), (31, 33), (200, 110)])
@pytest.mark.parametrize("size", [5, 13, 21])
def test_any_kernel_on_any_shape_is_a_correlation(shape, size):
    """A kernel without symmetry, in images smaller than it and larger: the DFT wraps nothing around."""
    rng = np.random.default_rng(size)
    image = rng.integers(0, 256, (*shape, 3)).astype(np.float32)
    kernel = rng.random((size, size)) ** 4
    kernel /= kernel.sum()
    expected = correlated(image, kernel)
    assert np.abs(filters.dense(image, kernel) - expected).max() < 1e-3
    assert np.abs(correlate(image, kernel.astype(np.float32)) - expected).max() < 1e-3


@pytest.mark.parametrize("count", [9, 31, 51])
def test_long_and_short_separable_filters_are_correlations(count):
    image = np.random.default_rng(1).integers(0, 256, (60, 47, 3)).astype(np.float32)
    taps = kernels.gaussian_taps(count, count / 5)
    assert np.abs(filters.separable(image, taps) - correlated(image, np.outer(taps, taps))).max() < 1e-3


def test_a_large_image_gets_a_kernel_of_rank_two_as_two_separable_filters(monkeypatch):
    image = np.random.default_rng(2).integers(0, 256, (165, 180, 3)).astype(np.float32)
    first, second = (np.outer(taps, taps) for taps in (kernels.gaussian_taps(21, 4.0), kernels.gaussian_taps(21, 1.0)))
    kernel = 0.5 * (first + second)
    monkeypatch.setattr(filters, "correlate", None)  # nothing falls back to the DFT
    assert np.abs(filters.dense(image, kernel) - correlated(image, kernel)).max() < 0.06


def test_factors_of_low_rank_rebuild_the_kernel_and_are_symmetric_to_the_last_bit():
    for sigma_x, sigma_y, theta, most in [(2.4, 2.4, 0.0, 1), (3.0, 2.0, 0.4, 6), (2.0, 0.7, 0.1, 6)]:
        kernel = kernels.gaussian(15, sigma_x, sigma_y, theta)
        columns, rows = kernels.low_rank(kernel, most, 2e-4)
        assert np.abs(columns.T @ rows - kernel).sum() <= 2e-4
        for factor in (*columns, *rows):
            assert np.array_equal(factor, factor[::-1]) or np.array_equal(factor, -factor[::-1])


def test_kernels_of_high_rank_and_lopsided_ones_have_no_factors():
    turned = kernels.gaussian(21, 2.8, 0.7, 0.6)
    assert kernels.low_rank(turned, 3, 2e-4) is None
    assert kernels.low_rank(turned, 21, 2e-4) is not None
    lopsided = np.outer(np.arange(5.0), np.ones(5))  # rank one, but of no symmetry that a filter could use
    assert kernels.low_rank(lopsided, 5, 2e-4) is None
