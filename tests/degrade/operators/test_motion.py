"""Motion blur: the line is the line at any angle, its exposure may be uneven, and it is convolved, not correlated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from degrade.operators.motion import Motion, MotionDraw
from degrade.optics import line

LENGTHS, ANGLES, ASYMMETRIES = st.floats(0.0, 25.0), st.floats(-math.pi, math.pi), st.floats(-1.0, 1.0)


def moment(kernel: np.ndarray, theta: float, power: int) -> float:
    """The moment along the direction theta, in pixels to the power."""
    taps = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    along = math.cos(theta) * taps[None, :] + math.sin(theta) * taps[:, None]
    return float((kernel * along**power).sum())


def walked(size: int, length: float, theta: float, asymmetry: float, steps: int = 40_000) -> np.ndarray:
    """The same kernel by walking along the line in small steps, each split among four pixels."""
    s = (np.arange(steps) + 0.5) / steps * 2 - 1
    exposure = 1 + asymmetry * s
    at = length / 2 * (s - (exposure * s).mean() / exposure.mean())
    kernel, half = np.zeros((size, size)), size // 2
    for weight, x, y in _corners(half + math.cos(theta) * at, half + math.sin(theta) * at):
        np.add.at(kernel, (y, x), weight * exposure)
    return kernel / kernel.sum()


def _corners(x: np.ndarray, y: np.ndarray):
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right in (0, 1):
        for below in (0, 1):
            weight = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
            yield weight, left + right, top + below


@settings(max_examples=40, deadline=None)
@given(LENGTHS, ANGLES, ASYMMETRIES)
def test_the_integral_is_what_small_steps_add_up_to(length, theta, asymmetry):
    kernel = line(length, theta, asymmetry)
    assert np.abs(kernel - walked(kernel.shape[0], length, theta, asymmetry)).max() < 1e-4
    assert kernel.sum() == pytest.approx(1.0, abs=1e-12)
    assert kernel.min() >= 0


@settings(max_examples=40, deadline=None)
@given(st.floats(2.0, 25.0), ANGLES, ASYMMETRIES)
def test_length_direction_and_asymmetry_are_those_asked_for(length, theta, asymmetry):
    """Mean 0, variance L^2 / 12 (1 - a^2 / 3) and up to 1/4 for the pixels, skewed away from where it lingers."""
    kernel = line(length, theta, asymmetry)
    assert moment(kernel, theta, 1) == pytest.approx(0, abs=1e-9)
    assert moment(kernel, theta + math.pi / 2, 1) == pytest.approx(0, abs=1e-9)
    spread = length**2 / 12 * (1 - asymmetry**2 / 3)
    assert spread - 1e-9 <= moment(kernel, theta, 2) <= spread + 0.5
    assert -1e-9 <= moment(kernel, theta + math.pi / 2, 2) <= 0.5
    if length > 8 and abs(asymmetry) > 0.3:
        assert np.sign(moment(kernel, theta, 3)) == -np.sign(asymmetry)


def test_turning_the_line_turns_the_kernel():
    """x runs along columns and y along rows, downwards."""
    for asymmetry in (0.0, 0.9):
        right, down = line(9, 0.0, asymmetry), line(9, math.pi / 2, asymmetry)
        np.testing.assert_allclose(down, right.T, atol=1e-12)
        np.testing.assert_allclose(line(9, math.pi, asymmetry), right[:, ::-1], atol=1e-12)
    assert line(9, 0.0)[line(9, 0.0).shape[0] // 2].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("draw", [{"length": 7, "theta": 0.5}, {"length": 16, "theta": 2.2}])
def test_the_photograph_is_convolved_with_the_kernel(draw):
    """Against SciPy's convolution with mirrored borders; correlating instead would be off by code values."""
    photo = data.astronaut()[60:140, 180:270].astype(np.float32)
    motion = MotionDraw(id="m", asymmetry=1.0, **draw)
    result = motion.render(photo.copy())
    reference = [ndimage.convolve, ndimage.correlate]
    convolved, correlated = (
        np.stack([f(photo[..., c].astype(float), motion.kernel(), mode="mirror") for c in range(3)], -1)
        for f in reference
    )
    assert np.abs(result - convolved).max() < 0.1
    assert np.abs(result - correlated).max() > 3.0


def test_no_length_is_no_blur():
    photo = data.astronaut()[:20, :30].astype(np.float32)
    assert np.array_equal(MotionDraw(id="m", length=0, theta=0.7, asymmetry=1).render(photo.copy()), photo)


@pytest.mark.parametrize("wrong", [{"length": [-1, 2]}, {"length": [1, 101]}, {"length": [1, 2], "asymmetry": [0, 2]}])
def test_ranges_are_bounded(wrong):
    with pytest.raises(ValueError, match="than or equal to"):
        Motion.model_validate({"id": "m", **wrong})
