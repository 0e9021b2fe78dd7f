"""Spectra: differences of Fourier amplitudes, and the focal frequency loss. Images [B, C, H, W] in [0, 1].

F is the orthonormal 2-D Fourier transform of each channel of the whole image, so that by Parseval's theorem
mean |F(x)|^2 = mean x^2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def amplitude_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """mean | |F(sr)| - |F(hr)| |: how much of each frequency there is, wherever it lies.

    Blind to phase, that is to where things are: it goes beside a pixel loss.
    """
    return (_spectrum(sr).abs() - _spectrum(hr).abs()).abs().mean()


def focal_frequency_loss(sr: Tensor, hr: Tensor, *, alpha: float = 1.0) -> Tensor:
    """mean w |F(sr) - F(hr)|^2 with w = |F(sr) - F(hr)|^alpha / max of it over the spectrum, a constant to gradients.

    Jiang et al., Focal Frequency Loss (ICCV 2021, arXiv 2012.12821), section 3, one patch an image, each channel
    by itself: the frequencies that are hardest for the network weigh most. With alpha = 0 every weight is 1
    and it is the mean square error.
    """
    squared = _square(_spectrum(sr) - _spectrum(hr))
    weight = squared.detach() ** (alpha / 2)
    peak = weight.amax((2, 3), keepdim=True)
    weight = torch.where(peak > 0, weight / peak.clamp_min(torch.finfo(peak.dtype).tiny), weight)
    return (weight * squared).mean()


def _spectrum(image: Tensor) -> Tensor:
    spectrum: Tensor = torch.fft.fft2(image, norm="ortho")
    return spectrum


def _square(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()
