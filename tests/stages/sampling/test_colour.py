"""Colour fixes by their properties, and the wavelet against the cosine transform that diagonalises it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from stages.sampling.colour import adain, fix_colours, low_frequencies, wavelet


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(40, 56), (3, 70), (1, 1)])
def test_low_frequencies_are_a_product_of_cosines_in_the_cosine_transform(shape):
    """(1, 2, 1)/4 at distance d multiplies frequency w by cos^2(d w / 2); mirrored borders make it exact."""
    image = noise(*shape).numpy()
    spectrum = scipy.fft.dctn(image, norm="ortho")
    for axis, size in enumerate(shape):
        w = np.pi * np.arange(size) / size
        gain = np.prod([np.cos(2**level * w / 2) ** 2 for level in range(5)], axis=0)
        spectrum *= gain.reshape([-1 if i == axis else 1 for i in range(2)])
    expected = scipy.fft.idctn(spectrum, norm="ortho")
    assert low_frequencies(torch.from_numpy(image)).numpy() == pytest.approx(expected, abs=1e-12)


def test_the_wavelet_removes_any_smooth_tint_and_keeps_the_detail():
    reference = low_frequencies(noise(3, 64, 80))
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 80), indexing="ij")
    detail = noise(3, 64, 80, seed=1) - 0.5
    detail -= low_frequencies(detail)
    tint = torch.stack([0.2 + 0.05 * rows, -0.1 * columns, torch.full_like(rows, 0.1)]).double()
    fixed = wavelet(reference + detail + tint, reference)
    assert fixed.mean((1, 2)).tolist() == pytest.approx(reference.mean((1, 2)).tolist(), abs=1e-12)
    inner = (slice(None), slice(31, -31), slice(31, -31))  # 1 + 2 + 4 + 8 + 16 pixels from a border a ramp is a ramp
    assert torch.allclose((fixed - low_frequencies(fixed))[inner], (detail - low_frequencies(detail))[inner], atol=0.02)
    wrong = reference + detail + tint
    assert (fixed - reference - detail).abs().mean() < 0.1 * (wrong - reference - detail).abs().mean()
    assert torch.allclose(wavelet(reference + 0.3, reference), reference)


def test_adain_gives_each_channel_the_mean_and_deviation_of_the_reference():
    image, reference = noise(3, 20, 30), 0.4 * noise(3, 20, 30, seed=1) + 0.2
    fixed = adain(image, reference)
    assert torch.allclose(fixed.mean((1, 2)), reference.mean((1, 2)))
    assert torch.allclose(fixed.std((1, 2)), reference.std((1, 2)))
    assert np.corrcoef(fixed[1].flatten(), image[1].flatten())[0, 1] == pytest.approx(1)
    assert torch.allclose(adain(torch.ones(3, 4, 4), reference[..., :4, :4]), reference[..., :4, :4].mean((1, 2), True))


def test_another_fix_is_refused_by_name():
    with pytest.raises(ValueError, match="expected one of adain, wavelet, got 'reinhard'"):
        fix_colours("reinhard", noise(3, 4, 4), noise(3, 4, 4))  # type: ignore[arg-type]
