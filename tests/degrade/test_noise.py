"""Noise fields: frozen words, moments, distributions, independence of channels, and the gray variants."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from degrade import noise
from degrade.philox import stream_key

KEY = stream_key(1, "cd" * 32, 0, "gaussian1/field")


def flat(value: float, size: int = 256) -> np.ndarray:
    return np.full((size, size, 3), value, dtype=np.float32)


def test_the_tables_are_frozen():
    """The whole of the noise hangs on these numbers: their bytes never change."""
    digests = [
        hashlib.sha256(t.astype("<f4").tobytes()).hexdigest()[:16]
        for t in (noise.normal_quantiles(), noise.poisson_counts())
    ]
    assert digests == ["1cfbba1e07e34386", "355df1689bebced4"]


def test_the_normal_table_is_normal():
    table = noise.normal_quantiles().astype(np.float64)
    assert np.all(np.diff(table) > 0)
    assert abs(table.mean()) < 1e-9
    assert table.std() == pytest.approx(1.0, abs=3e-5)
    assert stats.kurtosis(table) == pytest.approx(0.0, abs=2e-3)
    exact = stats.norm.cdf(table)
    assert np.abs(exact - (np.arange(65536) + 0.5) / 65536).max() < 2**-17


@pytest.mark.parametrize("gray", [False, True])
def test_gaussian_noise_has_the_sigma_and_the_channels_it_says(gray):
    added = noise.add_gaussian(flat(128.0), 12.0, gray, KEY) - 128.0
    assert added.mean() == pytest.approx(0.0, abs=0.2)
    assert added.std() == pytest.approx(12.0, rel=0.01)
    assert stats.kstest(added[..., 0].ravel()[:5000] / 12.0, "norm").pvalue > 0.01
    correlation = np.corrcoef(added.reshape(-1, 3).T)
    if gray:
        assert np.array_equal(added[..., 0], added[..., 2])
    else:
        assert np.abs(correlation - np.eye(3)).max() < 0.02
    neighbours = np.corrcoef(added[:, :-1, 0].ravel(), added[:, 1:, 0].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_noise_is_clipped_to_code_values():
    for image in (noise.add_gaussian(flat(250.0), 30.0, False, KEY), noise.add_poisson(flat(250.0), 3.0, True, KEY)):
        assert image.min() >= 0.0
        assert image.max() == 255.0


@pytest.mark.parametrize("code", [0, 1, 5, 15, 16, 32, 60, 128, 255])
def test_poisson_counts_follow_the_poisson_distribution(code):
    """Over all 65,536 equally likely inputs: within 5e-4 of the distribution function, variance within 0.4 %."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    counts = noise.poisson(np.full(values.shape, code, dtype=np.uint8), values).astype(np.int64).ravel()
    rate = code * 256 / 255
    reached = np.cumsum(np.bincount(counts, minlength=counts.max() + 1)) / 65536
    assert counts.min() >= 0
    assert np.abs(reached - stats.poisson.cdf(np.arange(len(reached)), rate)).max() < 5e-4
    assert counts.mean() == pytest.approx(rate, abs=2e-3)
    assert counts.var() == pytest.approx(rate, rel=4e-3, abs=1e-3)


def test_poisson_noise_grows_with_the_square_root_of_the_signal_and_with_the_scale():
    spread = {code: (noise.add_poisson(flat(code), 0.5, False, KEY) - code).std() for code in (16.0, 64.0)}
    assert spread[64.0] / spread[16.0] == pytest.approx(2.0, rel=0.03)
    assert spread[64.0] == pytest.approx(0.5 * np.sqrt(64 * 255 / 256), rel=0.02)


def test_gray_poisson_noise_is_that_of_the_luma():
    image = flat(0.0)
    image[..., 1] = 100.0  # luma 58.7
    added = noise.add_poisson(image.copy(), 0.2, True, KEY) - image
    assert np.array_equal(added[..., 0] > 0, added[..., 2] > 0)
    assert added[..., 1].std() == pytest.approx(0.2 * np.sqrt(59 * 255 / 256), rel=0.02)
