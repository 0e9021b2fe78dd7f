"""An Edge-SD-SR super-resolver: LR encoder, one-step UNet and decoder as one module that is trained, saved and sampled.

Edge-SD-SR: Hadji et al., arXiv 2412.06978, CVPR 2025; the body of the paper could not be read, so sizes and the
process are reconstructions (see `unet.py`, `encoder.py`, `decoder.py`, `stages/diffusion/bidirectional.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor, nn

from stages.diffusion.bidirectional import Bidirectional
from stages.models.autoencoders import Autoencoder, build_autoencoder
from stages.models.edge.decoder import EdgeDecoder
from stages.models.edge.encoder import EdgeEncoder
from stages.models.edge.sides import halvings
from stages.models.edge.unet import EdgeUNet
from stages.models.encoding import enlarged
from stages.models.frozen import Frozen
from stages.models.latent_space import TrainedAutoencoder
from stages.sampling.config import SamplingOptions
from stages.sampling.sampler import super_resolve

if TYPE_CHECKING:
    from pipelines.stage import JsonObject


class EdgeModel(nn.Module):
    """z_l = encoder(LR); z_h = UNet(z_T of z_l, z_l) in one evaluation; image = decoder(z_h).

    Built from the plain JSON of `constructor`, whose parts are in `stages/models/edge/config.py` (`EdgeConfig`).
    `autoencoder` is that of HR: a name, the card of a trained one, a trained one itself, or none. Its weights are no
    part of this module, and a finished model needs none: without an `encoder` of its own the model encodes the
    enlarged LR image with it, without a `decoder` it decodes with it, and where these are `residual` they add to its
    answer. There is no `forward`: what is trained, and compiled, are `encoder`, `network` and `decoder`.
    """

    family = "edge"

    def __init__(
        self,
        *,
        scale: int,
        latent: Mapping[str, int],
        residual: bool,
        network: Mapping[str, Any],
        encoder: Mapping[str, Any] | None,
        decoder: Mapping[str, Any] | None,
        process: Mapping[str, Any],
        autoencoder: str | dict[str, Any] | TrainedAutoencoder | None = None,
    ) -> None:
        super().__init__()
        channels, factor = latent["channels"], latent["factor"]
        self.frozen = _frozen(autoencoder, scale, channels, factor)
        if isinstance(autoencoder, TrainedAutoencoder):
            autoencoder = autoencoder.card()
        _check(autoencoder, encoder, decoder, residual, process)
        self.constructor = {
            "scale": scale, "latent": dict(latent), "residual": residual, "network": dict(network),
            "encoder": encoder and dict(encoder), "decoder": decoder and dict(decoder), "process": dict(process),
            "autoencoder": autoencoder,
        }  # fmt: skip
        self.scale, self.channels, self.factor, self.residual = scale, channels, factor, residual
        self.ratio = 2 ** halvings(scale, factor)
        self.process = Bidirectional.create(**process)
        self.encoder = None if encoder is None else EdgeEncoder(channels, scale, factor, **encoder)
        self.network = EdgeUNet(channels, **network)
        self.decoder = None if decoder is None else EdgeDecoder(channels, factor, **decoder)
        self.noise_channels = 0  # the plane of noise is a part of z_T, not an input beside it

    @property
    def autoencoder(self) -> Autoencoder:
        """That of HR. Shared with copies of this model. Raises ValueError for a model that was built without."""
        if self.frozen is None:
            raise ValueError("this edge model was built without the autoencoder of HR; give `autoencoder`")
        return self.frozen.autoencoder

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> EdgeModel:
        if self.frozen is not None:
            self.frozen.apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def multiple(self) -> int:
        """LR heights and widths that the network takes are multiples of this."""
        return int(self.network.multiple * self.ratio)

    @torch.no_grad()
    def encode_hr(self, hr: Tensor) -> Tensor:
        """z_h of hr [B, 3, H, W] in [0, 1]: [B, channels, H/factor, W/factor], without gradient. For training."""
        return self.autoencoder.encode(2 * hr - 1)

    def encode_lr(self, lr: Tensor) -> Tensor:
        """z_l of lr [B, 3, h, w] in [0, 1], shaped as z_h; with gradient to the encoder's weights."""
        if self.encoder is None:
            return self._shared(lr)
        z_l: Tensor = self.encoder(lr)
        return z_l + self._shared(lr) if self.encoder.residual else z_l

    def answer(self, z_t: Tensor, t: Tensor, z_l: Tensor) -> Tensor:
        """What the network says, to be compared with `process.target`: z_h or v; `t` int64 [B].

        z_t is brought to unit variance before it enters; z_l is not.
        """
        out: Tensor = self.network(self.process.input_scale(t, z_t) * z_t, z_l, t.to(z_t.device))
        return z_l + out if self.residual else out

    def predict_x0(
        self, z_t: Tensor, t: Tensor, lr: Tensor, zy: Tensor, process: Bidirectional | None = None,
        planes: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """z_h from z_t at steps `t` and z_l (`zy`), as the sampler asks for it: pixels and planes are not looked at."""
        return self.process.x0(z_t, t, self.answer(z_t, t, zy))

    def one_step(self, z_l: Tensor, noise: Tensor | None = None) -> Tensor:
        """z_h of z_l in one evaluation at the last step; without `noise` (of z_l's shape) from the middle of z_T."""
        t = torch.full((len(z_l),), self.process.last)
        z_t = self.process.start(z_l, noise)
        return self.process.x0(z_t, t, self.answer(z_t, t, z_l))

    def decode(self, latent: Tensor) -> Tensor:
        """Image [B, 3, H, W], about [-1, 1], of a latent; with gradient to latent and weights."""
        if self.decoder is None:
            return self.autoencoder.decode(latent)
        image: Tensor = self.decoder(latent)
        return image + self.autoencoder.decode(latent) if self.decoder.residual else image

    def enlarge(self, lr: Tensor, noise: Tensor | None = None) -> Tensor:
        """lr [B, 3, h, w] in [0, 1], h and w multiples of `multiple` -> [B, 3, h*scale, w*scale], about [0, 1].

        One step with gradient to all three parts; `noise` as in :meth:`one_step`.
        """
        return (self.decode(self.one_step(self.encode_lr(lr), noise)) + 1) / 2

    def super_resolve(self, lr: Tensor, **options: Unpack[SamplingOptions]) -> Tensor:
        """One image: lr float [3, h, w] in [0, 1] of any size -> [3, h*scale, w*scale] in [0, 1].

        See `stages.sampling.sampler.super_resolve`. With k = 0 at inference, `seed` and `name` change nothing. Raises
        ValueError when asked for more than one step.
        """
        self.evaluations(options.get("steps"))
        options["steps"] = 1
        return super_resolve(self, lr, **options)

    def evaluations(self, steps: int | None = None) -> int:
        """Network evaluations for one image: 1."""
        self.process.respaced(1 if steps is None else steps)
        return 1

    def card(self) -> JsonObject:
        """What the card of an artifact says besides family and constructor."""
        process = self.process
        return {
            "preprocessing": {"colour": "sRGB", "range": [-1, 1], "padding": "reflect", "multiple": self.multiple},
            "sampler": {"kind": "one-step", "steps": 1, "t": process.last, "k": process.inference_k},
        }

    @torch.no_grad()
    def _shared(self, lr: Tensor) -> Tensor:
        return self.autoencoder.encode(enlarged(lr, self.scale))


def _frozen(
    autoencoder: str | dict[str, Any] | TrainedAutoencoder | None, scale: int, channels: int, factor: int
) -> Frozen | None:
    if autoencoder is None:
        return None
    built = autoencoder if isinstance(autoencoder, TrainedAutoencoder) else build_autoencoder(autoencoder, scale)
    if (built.channels, built.factor) != (channels, factor):
        raise ValueError(
            f"latent: the autoencoder has {built.channels} channels and factor {built.factor}; expected those of "
            f"`latent`, {channels} and {factor}"
        )
    return Frozen(built)


def _check(
    autoencoder: str | dict[str, Any] | None, encoder: Mapping[str, Any] | None, decoder: Mapping[str, Any] | None,
    residual: bool, process: Mapping[str, Any],
) -> None:  # fmt: skip
    """Raises ValueError for parts that lean on an autoencoder which is not there, or is no part of a phone's model."""
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        if part is None and autoencoder is None:
            raise ValueError(f"{name}: expected its settings, or `autoencoder` to take its place")
        if part is not None and part.get("residual") and not isinstance(autoencoder, str):
            raise ValueError(f"{name}.residual: expected an autoencoder without weights, to start from its answer")
    if residual and process.get("prediction") == "v":
        raise ValueError("residual: adds z_l to an answer that is z_h; with prediction: v set it to false")
