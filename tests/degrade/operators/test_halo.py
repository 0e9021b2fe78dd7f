"""Over-sharpening: the formula written out, the sign of the halos, the threshold and the limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from degrade.operators.halo import Halo, HaloDraw

PHOTO = data.astronaut()[40:120, 170:270].astype(np.float32)


def render(image: np.ndarray = PHOTO, **values: float) -> np.ndarray:
    draw = HaloDraw.model_validate({"id": "h", "amount": 1.5, "sigma": 1.5, "threshold": 0, **values})
    return draw.render(image.copy())


def edge() -> np.ndarray:
    image = np.full((24, 40, 3), 80, np.float32)
    image[:, 20:] = 160
    return image


@pytest.mark.parametrize(("amount", "threshold"), [(0.5, 0), (1.5, 6), (4.0, 12)])
def test_it_is_the_unsharp_mask_through_a_soft_threshold(amount, threshold):
    """In float64 with SciPy's Gaussian. A difference within rounding of the threshold may fall on either side."""

    def blur(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, (1.5, 1.5, 0), mode="mirror", truncate=4)

    start = PHOTO.astype(np.float64)
    difference = start - blur(start)
    through = blur((np.abs(difference) > threshold).astype(np.float64))
    expected = start + through * (np.clip(start + amount * difference, 0, 255) - start)
    apart = np.abs(render(amount=amount, threshold=threshold) - expected)
    assert np.mean(apart > 0.05) < 1e-3
    assert apart.max() < 5.0


def test_an_edge_gets_a_light_halo_on_its_light_side_and_a_dark_one_on_its_dark_side():
    halo = render(edge()) - edge()
    assert halo[12, 20:23].min() > 5
    assert halo[12, 17:20].max() < -5
    assert np.abs(halo[:, [0, 1, 38, 39]]).max() < 1e-3
    wider = render(edge(), sigma=3.0) - edge()
    assert np.count_nonzero(wider[12, :, 0] > 2) > np.count_nonzero(halo[12, :, 0] > 2)


def test_amount_zero_changes_nothing():
    assert np.abs(render(amount=0) - PHOTO).max() < 1e-3


def test_what_is_below_the_threshold_stays():
    grain = 128 + np.random.default_rng(0).uniform(-3, 3, (32, 32, 3)).astype(np.float32)
    assert np.abs(render(grain, threshold=7) - grain).max() < 1e-3
    assert np.abs(render(grain, threshold=0) - grain).max() > 1


def test_overshoot_limits_the_halo_and_nothing_else():
    free, limited, none = render(), render(overshoot=6), render(overshoot=0)
    low, high = (f(PHOTO, size=(3, 3, 1), mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    assert (free > high + 6.01).any()
    assert (free < low - 6.01).any()
    np.testing.assert_allclose(limited, np.clip(free, low - 6, high + 6), atol=1e-3)
    assert (none >= low).all()
    assert (none <= high).all()


def test_halos_are_clipped_to_code_values_and_so_is_what_comes_in():
    harsh = np.where(edge() > 100, 255.0, 0.0).astype(np.float32)
    assert np.array_equal(render(harsh, amount=10), harsh)
    assert render(harsh * 1.2 - 20).max() == 255.0


@pytest.mark.parametrize(
    "wrong", [{"amount": [-1, 1]}, {"sigma": [0, 1]}, {"threshold": [0, 300]}, {"overshoot": [9, 3]}]
)
def test_ranges_are_bounded(wrong):
    with pytest.raises(ValueError, match=r"than|low <= high"):
        Halo.model_validate({"id": "h", "amount": [1, 2], "sigma": [1, 2], **wrong})
