"""Defocus: the disc is the disc, to the area of every pixel, and the filter applies it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade.operators.defocus import Defocus, DefocusDraw
from degrade.optics import disc

RADII = st.floats(0.05, 12.0)


def moments(kernel: np.ndarray) -> tuple[float, float, float, float]:
    """Centroid x, y and variance along x, y, in pixels."""
    taps = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    x, y = kernel.sum(axis=0), kernel.sum(axis=1)
    return float(x @ taps), float(y @ taps), float(x @ taps**2), float(y @ taps**2)


@pytest.mark.parametrize("radius", [0.3, 0.6, 1.0, 2.2, 3.5, 7.3])
def test_every_tap_is_the_covered_area_of_its_pixel(radius):
    """Against counting: 200 x 200 points a pixel, whose own error is below 2e-4 of the disc."""
    kernel, fine = disc(radius), 200
    half = kernel.shape[0] // 2
    points = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    inside = points[:, None] ** 2 + points**2 <= radius**2
    counted = inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))
    np.testing.assert_allclose(kernel, counted / counted.sum(), atol=2e-4)


def test_no_radius_meets_the_rounding_of_a_square_root():
    """Where an edge is cut to the radius the root is of nothing; radius**2 - y**2 was below it for one in thousands."""
    found = [1.3203199414806948, 1.8095431589078381, 2.5812053719101007, 7.694635401405091, 4.217801923468351]
    for radius in [*found, *np.arange(0.05, 12, 0.05)]:
        kernel = disc(float(radius))
        assert np.isfinite(kernel).all()
        assert np.abs(kernel - kernel.T).max() < 1e-12


@settings(max_examples=60, deadline=None)
@given(RADII, st.one_of(st.just(0.0), st.floats(0.3, 2.0)))
def test_kernels_are_centred_sum_to_one_and_are_symmetric(radius, softness):
    kernel = disc(radius, softness)
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1.0, abs=1e-12)
    for same in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, same, atol=1e-12)


@pytest.mark.parametrize("radius", [3.3, 5.9, 11.0])
def test_the_variance_is_that_of_the_disc_and_a_pixel_and_the_rim(radius):
    """r^2 / 4 for the disc, 1/12 for the pixel, softness^2 for the Gaussian; a radius 3 % off would be seen."""
    for softness in (0.0, 0.8):
        expected = radius**2 / 4 + 1 / 12 + softness**2
        x, y, along, across = moments(disc(radius, softness))
        assert (x, y) == pytest.approx((0, 0), abs=1e-12)
        assert along == pytest.approx(expected, rel=0.02)
        assert across == pytest.approx(expected, rel=0.02)
        assert moments(disc(1.03 * radius, softness))[2] != pytest.approx(expected, rel=0.02)


def test_the_first_frequency_that_is_lost_is_the_discs():
    """The transform of a disc, 2 J1(w r) / (w r), is first zero at w = 3.8317 / r."""
    radius = 6.4
    kernel = disc(radius)
    taps = np.arange(kernel.shape[0]) - kernel.shape[0] // 2

    def response(frequency: float) -> float:
        return float(kernel.sum(axis=0) @ np.cos(frequency * taps))

    assert abs(response(3.8317 / radius)) < 2e-3
    assert response(3.6 / radius) > 0.02
    assert response(4.1 / radius) < -0.02


def test_a_point_of_light_becomes_the_kernel():
    image = np.zeros((41, 41, 3), np.float32)
    image[20, 20] = 200.0
    for draw in (DefocusDraw(id="d", radius=3.7), DefocusDraw(id="d", radius=7.0, softness=0.5)):
        kernel = draw.kernel()
        half = kernel.shape[0] // 2
        blurred = draw.render(image.copy())[20 - half : 21 + half, 20 - half : 21 + half]
        assert np.abs(blurred - 200.0 * kernel[..., None]).max() < 0.01
    assert np.array_equal(DefocusDraw(id="d", radius=0.5).render(image.copy()), image)


@pytest.mark.parametrize(
    "wrong", [{"radius": [0, 2]}, {"radius": [3, 2]}, {"radius": [1, 51]}, {"radius": [1, 2], "softness": [-1, 0]}]
)
def test_radii_are_positive_ordered_and_bounded(wrong):
    with pytest.raises(ValueError, match=r"greater than|low <= high|less than"):
        Defocus.model_validate({"id": "d", **wrong})
    assert math.isclose(DefocusDraw(id="d", radius=50).kernel().sum(), 1.0)
