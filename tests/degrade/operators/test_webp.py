"""WebP: libwebp's own round trip, through another binding of it, and honest limits."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage import data

from degrade.codecs import to_uint8, webp
from degrade.errors import DegradeError
from degrade.operators.webp import Webp, WebpDraw

CROP = data.astronaut()[100:199, 150:261]


@pytest.mark.parametrize("quality", [1, 10, 50, 80, 95, 100])
def test_webp_is_libwebps_round_trip(quality):
    """Against Pillow's libwebp: the same pixels at method 4, but for two codes between versions."""
    buffer = BytesIO()
    Image.fromarray(CROP).save(buffer, "WEBP", quality=quality, method=4, lossless=False)
    expected = np.asarray(Image.open(buffer).convert("RGB")).astype(np.float32)
    result = webp(CROP.astype(np.float32), quality)
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() <= 2


def test_the_range_of_qualities_is_a_range_of_losses_and_none_is_lossless():
    errors = [np.abs(webp(CROP.astype(np.float32), quality) - CROP).mean() for quality in (1, 20, 60, 90, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 5 * errors[-1] > 0


def test_channels_are_not_swapped():
    """Red and blue of saturated patches survive; a codec that is handed BGR for RGB would exchange them."""
    patch = np.zeros((16, 16, 3), np.float32)
    patch[..., 0] = 230
    assert np.abs(webp(patch, 60).mean(axis=(0, 1)) - [230, 0, 0]).max() < 8


def test_values_beyond_8_bits_are_rounded_and_saturated_first():
    image = np.array([[[-20.0, 100.4, 300.0]]], dtype=np.float32)
    assert np.array_equal(webp(image, 90), webp(to_uint8(image).astype(np.float32), 90))


def test_qualities_and_sizes_that_webp_has_not_are_refused():
    for quality in ([0, 50], [50, 101], [60, 50]):
        with pytest.raises(ValueError, match="between 1 and 100"):
            Webp.model_validate({"id": "w", "quality": quality})
    with pytest.raises(DegradeError, match="16383 pixels, got 16384 x 1"):
        WebpDraw(id="w", quality=50).render(np.zeros((1, 16384, 3), np.float32))
