"""Losses without weights, against independent computations and values known beforehand."""

import itertools
import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from stages.losses.frequency import amplitude_loss, focal_frequency_loss
from stages.losses.gradient import gradient_loss
from stages.losses.pixel import charbonnier, l1, mean_square
from stages.losses.ssim import EXPONENTS, ms_ssim_loss, ssim_loss


def images(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures in [0, 1] and noisy versions of them."""
    generator = torch.Generator().manual_seed(seed)
    hr = torch.nn.functional.avg_pool2d(torch.rand(*shape, generator=generator), 5, 1, 2)
    return (hr + 0.1 * torch.randn(*shape, generator=generator)).clamp(0, 1), hr


def test_charbonnier_of_a_constant_difference_is_that_at_every_scale():
    hr = torch.full((1, 3, 8, 8), 0.25)
    for scales in (1, 3):
        assert charbonnier(hr + 0.3, hr, epsilon=0.4, scales=scales).item() == pytest.approx(0.5)  # 3, 4, 5
    assert charbonnier(hr, hr).item() == pytest.approx(1e-3)


def test_charbonnier_coarse_scales_forgive_what_averages_out():
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    one = charbonnier(board, torch.zeros_like(board), epsilon=1e-3, scales=1)
    two = charbonnier(board, torch.zeros_like(board), epsilon=1e-3, scales=2)
    assert two.item() == pytest.approx((one.item() + 1e-3) / 2)
    with pytest.raises(ValueError, match="at least 16 pixels a side, got 8"):
        charbonnier(board, board, scales=5)


def skimage_ssim(sr: torch.Tensor, hr: torch.Tensor) -> float:
    values = [
        structural_similarity(
            a.double().numpy(), b.double().numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=1.0,
        )
        for a, b in itertools.chain.from_iterable(zip(x, y, strict=True) for x, y in zip(sr, hr, strict=True))
    ]  # fmt: skip
    return float(np.mean(values))


def test_ssim_is_that_of_skimage():
    sr, hr = images(2, 3, 40, 29)
    assert 1 - ssim_loss(sr, hr).item() == pytest.approx(skimage_ssim(sr, hr), abs=1e-5)
    assert ssim_loss(hr, hr).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="at least 11 pixels a side, got 10 x 29"):
        ssim_loss(sr[:, :, :10], hr[:, :, :10])


def test_ms_ssim_with_one_level_is_ssim():
    sr, hr = images(1, 1, 32, 32)
    assert ms_ssim_loss(sr, hr, levels=1).item() == pytest.approx(ssim_loss(sr, hr).item(), abs=1e-4)


def full(image: np.ndarray, other: np.ndarray, what: str) -> float:
    """Mean luminance*structure, or mean structure, by skimage's full map of SSIM and a luminance of its own."""
    from scipy.ndimage import gaussian_filter

    _, both = structural_similarity(
        image, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True
    )
    a, b = (gaussian_filter(x, 1.5, truncate=3.5, mode="reflect") for x in (image, other))
    luminance = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    return float((both if what == "both" else both / luminance)[5:-5, 5:-5].mean())


def test_ms_ssim_is_the_product_over_scales():
    sr, hr = images(1, 1, 176, 192)
    a, b, expected = sr[0, 0].double().numpy(), hr[0, 0].double().numpy(), 1.0
    for level, exponent in enumerate(EXPONENTS):
        if level:
            a, b = (x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean((1, 3)) for x in (a, b))
        expected *= full(a, b, "both" if level == 4 else "structure") ** exponent
    assert ms_ssim_loss(sr.double(), hr.double()).item() == pytest.approx(1 - expected, abs=1e-9)
    assert ms_ssim_loss(sr, hr).item() == pytest.approx(1 - expected, abs=1e-5)
    with pytest.raises(ValueError, match="at least 176"):
        ms_ssim_loss(sr[:, :, :100], hr[:, :, :100])


def test_gradient_measures_slopes_and_ignores_brightness():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16) / 16
    assert gradient_loss(ramp, torch.zeros_like(ramp)).item() == pytest.approx((1 / 16 + 0) / 2)
    assert gradient_loss(ramp.mT, torch.zeros_like(ramp)).item() == pytest.approx(1 / 32)
    assert gradient_loss(ramp + 0.5, ramp).item() == pytest.approx(0, abs=1e-7)


def test_amplitude_is_blind_to_place_and_sees_one_wave():
    _, hr = images(1, 2, 16, 12)
    assert amplitude_loss(hr.roll((3, 5), (2, 3)), hr).item() == pytest.approx(0, abs=1e-6)
    wave = torch.cos(2 * math.pi * 3 * torch.arange(16) / 16).expand(1, 1, 16, 16)
    # an orthonormal transform has two peaks of sqrt(256) / 2 there, over 256 coefficients
    assert amplitude_loss(wave, torch.zeros_like(wave)).item() == pytest.approx(2 * 8 / 256, rel=1e-5)


def test_focal_frequency_is_mean_square_error_at_alpha_0_and_weighs_the_hardest_most():
    sr, hr = images(2, 3, 16, 12)
    assert focal_frequency_loss(sr, hr, alpha=0).item() == pytest.approx(mean_square(sr, hr).item(), rel=1e-5)
    distance = np.abs(np.fft.fft2((sr - hr).double().numpy(), norm="ortho"))
    weight = distance / distance.max((2, 3), keepdims=True)
    assert focal_frequency_loss(sr, hr).item() == pytest.approx((weight * distance**2).mean(), rel=1e-5)
    assert focal_frequency_loss(hr, hr).item() == 0
    guess = sr.double().requires_grad_()
    squared = torch.fft.fft2(guess - hr.double(), norm="ortho").abs().square()
    (expected,) = torch.autograd.grad((torch.from_numpy(weight) * squared).mean(), guess)  # the weight stands still
    (found,) = torch.autograd.grad(focal_frequency_loss(guess, hr.double()), guess)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(
    "loss", [l1, mean_square, charbonnier, ssim_loss, gradient_loss, amplitude_loss, focal_frequency_loss]
)
def test_gradients_are_finite_at_the_answer_and_lead_to_it(loss):
    sr, hr = images(1, 3, 16, 16)
    exact = hr.clone().requires_grad_()
    loss(exact, hr).backward()
    assert exact.grad.isfinite().all()
    guess = sr.clone().requires_grad_()
    before = loss(guess, hr)
    before.backward()
    step = 0.1 * before.detach() / guess.grad.square().sum()  # a tenth of the way to zero, to first order
    assert loss(guess.detach() - step * guess.grad, hr) < before


def test_ms_ssim_stays_finite_where_structure_is_opposite():
    _, hr = images(1, 1, 44, 44)
    sr = (1 - hr).requires_grad_()
    loss = ms_ssim_loss(sr, hr, levels=3)
    loss.backward()
    assert 0.9 < loss.item() <= 1
    assert sr.grad.isfinite().all()
