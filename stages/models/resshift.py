"""A ResShift super-resolver: process, denoiser and autoencoder as one module that is trained, saved and sampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from stages.diffusion.resshift import ResShift
from stages.models.autoencoders import Autoencoder, build_autoencoder
from stages.models.denoisers import build_denoiser
from stages.models.encoding import encode_pair, enlarged
from stages.models.frozen import Frozen
from stages.models.latent_space import TrainedAutoencoder
from stages.sampling.config import SamplingOptions
from stages.sampling.sampler import super_resolve


class ResShiftModel(nn.Module):
    """Denoiser f(z_t, y, t) -> z0 with everything around it. Built from the plain JSON of `constructor`.

    LR conditioning is LR *pixels* in [-1, 1] beside z_t, never the latent (arXiv 2307.12348, 3.1 "extension to
    latent space"). `autoencoder` is a name, the card of a trained one (`stages/models/autoencoders.py`), or
    a trained one itself; its weights are not part of this module's state dict. `network` is described in
    `stages/models/denoisers.py`. With `residual` the network's output is added to z_y, so a new network, whose
    last layer is zero, answers exactly the encoded bicubic image. `noise_channels` are planes of noise at latent
    resolution that the network is given besides: one-step students have one.
    """

    family = "resshift"

    def __init__(
        self,
        *,
        scale: int,
        autoencoder: str | dict[str, Any] | TrainedAutoencoder,
        residual: bool,
        network: dict[str, Any],
        process: dict[str, Any],
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        if network.get("kind") == "unet":  # cards say nothing of the kind that was there first
            network = {name: value for name, value in network.items() if name != "kind"}
        self.frozen = Frozen(
            autoencoder if isinstance(autoencoder, TrainedAutoencoder) else build_autoencoder(autoencoder, scale)
        )
        if isinstance(autoencoder, TrainedAutoencoder):
            autoencoder = autoencoder.card()
        self.constructor = {
            "scale": scale, "autoencoder": autoencoder, "residual": residual, "network": network, "process": process,
        }  # fmt: skip
        if noise_channels:
            self.constructor["noise_channels"] = noise_channels
        self.noise_channels = noise_channels
        self.scale = scale
        self.residual = residual
        self.process = ResShift.create(**process)
        channels, factor = self.autoencoder.channels, self.autoencoder.factor
        self.denoiser = build_denoiser(channels, factor, scale, network, noise_channels)

    @property
    def autoencoder(self) -> Autoencoder:
        """Shared with every model that has the same `frozen`, and with copies of this one."""
        return self.frozen.autoencoder

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ResShiftModel:
        self.frozen.apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def multiple(self) -> int:
        """LR heights and widths that the network takes are multiples of this."""
        latent: int = self.denoiser.multiple * self.autoencoder.factor
        return latent // math.gcd(latent, self.scale)

    def encode_pair(self, lr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """(z0, z_y) of images in [0, 1]: lr [B, 3, h, w], hr [B, 3, h*scale, w*scale]; without gradient."""
        return encode_pair(self.autoencoder, self.scale, lr, hr)

    @torch.no_grad()
    def encode_lr(self, lr: Tensor) -> Tensor:
        """z_y: the latent of the bicubic up-sampled LR image, neither antialiased nor clamped (as upstream)."""
        return self.autoencoder.encode(enlarged(lr, self.scale))

    def predict_x0(
        self, z_t: Tensor, t: Tensor, lr: Tensor, zy: Tensor, process: ResShift | None = None,
        planes: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The denoiser's z0 for z_t [B, C, H, W] at steps `t` int64 [B]; lr [B, 3, h, w] in [0, 1].

        Only the input is scaled to unit variance; answer and target are plain latents. `planes`
        [B, noise_channels, H, W] are standard normal noise, for networks that take some.
        """
        inputs = self._inputs(z_t, t, lr, process or self.process)
        out: Tensor = self.denoiser(*inputs) if planes is None else self.denoiser(*inputs, planes)
        return zy + out if self.residual else out

    def decode(self, latent: Tensor) -> Tensor:
        """The autoencoder's image [B, 3, H, W], about [-1, 1]."""
        return self.autoencoder.decode(latent)

    def bottleneck(self, z_t: Tensor, t: Tensor, lr: Tensor) -> Tensor:
        """What the denoiser makes of the same arguments at its lowest resolution: [B, bottleneck_channels, ...]."""
        return self.denoiser.bottleneck(*self._inputs(z_t, t, lr, self.process))

    def _inputs(self, z_t: Tensor, t: Tensor, lr: Tensor, process: ResShift) -> tuple[Tensor, Tensor, Tensor]:
        pixels = 2 * lr - 1
        wanted = [side * self.denoiser.condition_factor for side in z_t.shape[-2:]]
        if list(pixels.shape[-2:]) != wanted:
            pixels = interpolate(pixels, size=wanted, mode="bicubic")
        labels = torch.tensor(process.labels)[t.cpu()].to(z_t.device)
        return process.input_scale(t, z_t) * z_t, pixels, labels

    def super_resolve(self, lr: Tensor, **options: Unpack[SamplingOptions]) -> Tensor:
        """One image: lr float [3, h, w] in [0, 1] of any size -> [3, h*scale, w*scale] in [0, 1].

        See `stages.sampling.sampler.super_resolve`.
        """
        return super_resolve(self, lr, **options)

    def evaluations(self, steps: int | None = None) -> int:
        """Network evaluations for one image."""
        return steps or self.process.timesteps
