"""Camera noise: the variance law at the sensor, the way there and back, and the draws of the paper."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy import stats
from skimage import data

from degrade import isp
from degrade.operators.base import Place
from degrade.operators.isp import Isp, IspDraw
from degrade.philox import stream_key

KEY = stream_key(1, "cd" * 32, 0, "isp/field")
PHOTO = data.astronaut()[40:121, 170:267].astype(np.float32)


def to_light(code: np.ndarray | float) -> np.ndarray:
    """sRGB's transfer function, written out (code values to linear light)."""
    value = np.asarray(code, dtype=np.float64) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def camera(image: np.ndarray, **values: object) -> np.ndarray:
    quiet = {"shot": 0.0, "read": 0.0, "red_gain": 2.0, "blue_gain": 1.7, "mosaic": True, "noise_key": KEY}
    return IspDraw.model_validate({"id": "isp", **quiet, **values}).render(image.copy())


def flat(code: float, size: int = 256) -> np.ndarray:
    return np.full((size, size, 3), code, np.float32)


def follows_the_law(light: float, shot: float, read: float, of: tuple[float, float]) -> bool:
    """Whether noise drawn with `of` has variance shot * light + read^2, to 2.5 %: 4.5 standard errors of 65,536."""
    noise = isp.sensor(np.full((256, 256), light, np.float32), *of, KEY) - light
    return abs(noise.var() / (shot * light + read**2) - 1) < 0.025


@pytest.mark.parametrize("light", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize(("shot", "read"), [(0.0001, 0.0005), (0.002, 0.004), (0.012, 0.0147)])
def test_the_variance_at_the_sensor_is_shot_times_light_plus_read_squared(light, shot, read):
    assert follows_the_law(light, shot, read, of=(shot, read))


def test_that_test_would_see_six_per_cent_and_a_read_that_is_not_squared():
    assert not follows_the_law(0.5, 0.002, 0.004, of=(0.00212, 0.004))
    assert not follows_the_law(0.0, 0.002, 0.004, of=(0.002, 0.00412))
    assert not follows_the_law(0.01, 0.002, 0.004, of=(0.002, math.sqrt(0.004)))


def test_the_noise_is_gaussian_white_and_stops_at_the_sensors_white():
    noise = isp.sensor(np.full((256, 256), 0.3, np.float32), 0.01, 0.01, KEY) - 0.3
    assert stats.kstest(noise.ravel()[:5000] / math.sqrt(0.0031), "norm").pvalue > 0.01
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.02
    assert isp.sensor(np.full((64, 64), 0.99, np.float32), 0.01, 0.0, KEY).max() == 1.0
    assert isp.sensor(np.zeros((64, 64), np.float32), 0.01, 0.01, KEY).min() < 0


@pytest.mark.parametrize("code", [40.0, 128.0, 200.0])
def test_white_balance_amplifies_the_noise_of_red_and_blue(code):
    """Developed back to light, a channel of gain g has the variance g^2 (shot light / g + read^2)."""
    shot, read, gains = 0.0005, 0.002, (2.2, 1.0, 1.6)
    light = to_light(code)
    noisy = camera(flat(code), shot=shot, read=read, red_gain=gains[0], blue_gain=gains[2], mosaic=False)
    for channel, gain in enumerate(gains):
        expected = gain**2 * (shot * light / gain + read**2)
        assert to_light(noisy[..., channel]).var() == pytest.approx(expected, rel=0.03)
    assert np.abs(np.corrcoef(noisy.reshape(-1, 3).T) - np.eye(3)).max() < 0.02


def test_a_mosaic_correlates_neighbours_and_averages_what_it_fills_in():
    """Bilinear red: its own sites keep the variance, between two it halves, between four it is a quarter."""
    noisy = to_light(camera(flat(128.0), shot=0.0005, red_gain=1.0, blue_gain=1.0)[..., 0])
    own = noisy[0::2, 0::2].var()
    assert noisy[0::2, 1::2].var() / own == pytest.approx(0.5, rel=0.06)
    assert noisy[1::2, 1::2].var() / own == pytest.approx(0.25, rel=0.06)
    assert np.corrcoef(noisy[:, :-1].ravel(), noisy[:, 1:].ravel())[0, 1] > 0.5


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_demosaicking_is_opencvs_bilinear_one(size):
    """OpenCV's in 16 bits, which copies its outermost pixels instead of mirroring."""
    raw = np.random.default_rng(2).integers(0, 65536, size).astype(np.uint16)
    expected = cv2.cvtColor(raw, cv2.COLOR_BayerRGGB2RGB).astype(np.float32)
    result = isp.demosaic(raw.astype(np.float32))
    assert np.abs(result - expected)[1:-1, 1:-1].max() <= 0.51


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 2), (3, 5), (32, 32)])
def test_a_flat_colour_without_noise_is_the_same_colour_at_every_size(size):
    """Every site of the pattern is found again, at the borders too; tables are exact to 1/32 of a code value."""
    image = np.broadcast_to(np.array([200.0, 90.0, 30.0], np.float32), (*size, 3)).copy()
    assert np.abs(camera(image) - image).max() < 0.04
    assert camera(image).shape == (*size, 3)


def test_without_noise_and_mosaic_nothing_happens_and_a_mosaic_costs_detail():
    assert np.abs(camera(PHOTO, mosaic=False) - PHOTO).max() < 0.04
    apart = np.abs(camera(PHOTO) - PHOTO)
    assert 0.2 < apart.mean() < 8


def drawn(count: int = 3000, **values: object) -> list[IspDraw]:
    operator = Isp.model_validate({"id": "isp", **values})
    places = [Place(5, "ab" * 32, crop, (8, 8), (2, 2)) for crop in range(count)]
    return [operator.draw(place.stream("isp"), place) for place in places]


def test_shot_is_log_uniform_and_read_follows_it_as_on_the_papers_cameras():
    draws = drawn()
    shot = np.log([draw.shot for draw in draws])
    low, high = math.log(0.0001), math.log(0.012)
    assert stats.kstest(shot, stats.uniform(low, high - low).cdf).pvalue > 0.001
    assert stats.kstest(np.exp(shot), stats.uniform(0.0001, 0.0119).cdf).pvalue < 1e-9  # not uniform itself
    around = np.log([draw.read**2 for draw in draws]) - (2.18 * shot + 1.20)
    assert stats.kstest(around, stats.norm(0, 0.26).cdf).pvalue > 0.001
    assert stats.kstest(around, stats.norm(0, 0.31).cdf).pvalue < 1e-3  # a fifth more is seen
    assert abs(np.corrcoef(shot, around)[0, 1]) < 0.06


def test_gains_mosaic_and_a_stated_read_are_drawn_from_their_ranges():
    draws = drawn(read=[0.001, 0.01], mosaic=0.25)
    for values, low, high in [
        ([draw.red_gain for draw in draws], 1.9, 2.4),
        ([draw.blue_gain for draw in draws], 1.5, 1.9),
        ([math.log(draw.read) for draw in draws], math.log(0.001), math.log(0.01)),
    ]:
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001
    assert stats.binomtest(sum(draw.mosaic for draw in draws), len(draws), 0.25).pvalue > 0.001
    assert len({draw.noise_key for draw in draws}) == len(draws)
    assert all(draw.shot == float(f"{draw.shot:.9g}") for draw in draws)


@pytest.mark.parametrize("wrong", [{"shot": [0, 0.01]}, {"read": [0.1, 0.01]}, {"red_gain": [0.5, 2]}, {"mosaic": 2}])
def test_ranges_are_bounded(wrong):
    with pytest.raises(ValueError, match=r"than|low <= high"):
        Isp.model_validate({"id": "isp", **wrong})
