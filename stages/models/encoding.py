"""Pairs of images to pairs of latents with a frozen autoencoder: at every step of a training, or once for a cache."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from stages.models.autoencoders import Autoencoder

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
_TYPES: Final = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def frozen_arithmetic(device: torch.device, precision: Precision | None) -> AbstractContextManager[object]:
    """The arithmetic of a frozen autoencoder on `device`: `precision`, or that around it where none is given.

    On the CPU it is float32 whatever is around it, so that a cached latent is the one that training would make.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    if device.type == "cpu":
        return torch.autocast("cpu", enabled=False)
    if precision is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[precision], enabled=precision != "fp32")


def enlarged(lr: Tensor, scale: int) -> Tensor:
    """lr [B, 3, h, w] in [0, 1] -> about [-1, 1], `scale` times larger: bicubic, neither antialiased nor clamped."""
    return interpolate(2 * lr - 1, scale_factor=float(scale), mode="bicubic")


@torch.no_grad()
def encode_pair(
    autoencoder: Autoencoder, scale: int, lr: Tensor, hr: Tensor, precision: Precision | None = None
) -> tuple[Tensor, Tensor]:
    """(z0, z_y), float32 [B, C, H, W], of lr [B, 3, h, w] and hr [B, 3, h*scale, w*scale] in [0, 1].

    z0 is the latent of HR and z_y that of the enlarged LR (ResShift, arXiv 2307.12348, 3.1); no gradient. On the CPU
    a network encodes one image at a time: how it rounds depends on the size of its batch, and so each latent is a
    function of its image alone. What goes in and what comes out lies in memory in the plain order, as a cache does,
    because that too decides how sums are rounded.
    """
    lr, hr = lr.contiguous(), hr.contiguous()
    with frozen_arithmetic(lr.device, precision):
        if not isinstance(autoencoder, nn.Module):
            return autoencoder.encode(2 * hr - 1), autoencoder.encode(enlarged(lr, scale))
        if lr.device.type == "cpu":
            firsts = [autoencoder.encode(2 * hr[i : i + 1] - 1) for i in range(len(hr))]
            lasts = [autoencoder.encode(enlarged(lr[i : i + 1], scale)) for i in range(len(lr))]
            return torch.cat(firsts).contiguous(), torch.cat(lasts).contiguous()
        z0, zy = autoencoder.encode(torch.cat([2 * hr - 1, enlarged(lr, scale)])).float().chunk(2)
    return z0.contiguous(), zy.contiguous()
