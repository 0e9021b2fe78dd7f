"""From an LR image of any size to its HR image, by a ResShift chain over tiles.

The chain runs over the whole latent, which is small; only the networks work on tiles. At each step the tiles'
estimates of z0 are blended, and the step is taken once, with one noise field for the whole image. As the step is
linear in z0 (`ResShift.posterior_coefficients`), this is the same as blending the stepped tiles, and because the
noise is shared it keeps its variance where tiles overlap.

The alternative, a chain for every tile and a blend of the decoded tiles, shows no more of a seam as long as the
noise is shared (`tests/benchmarks/tiling.py`). But there what a tile does not see of its surroundings spreads inwards
with every step, while here tiles meet again after each: a local network gives exactly the untiled image at any number
of steps (`tests/stages/sampling/test_sampler.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stages.diffusion.noise import Noise
from stages.models.padding import pad_to_multiple
from stages.sampling.colour import fix_colours
from stages.sampling.config import OVERLAP, ColourFix
from stages.sampling.tiles import Tiling


class Process(Protocol):
    """What the sampler needs of a process; see `stages.diffusion.resshift.ResShift` for shapes."""

    @property
    def timesteps(self) -> int: ...
    def respaced(self, steps: int) -> Self: ...
    def sample(
        self, zy: Tensor, predict_x0: Callable[[Tensor, Tensor], Tensor], noise: Callable[[int], Tensor]
    ) -> Tensor: ...


P = TypeVar("P", bound=Process)


class Denoiser(Protocol[P]):
    """What the sampler needs of a model; see `stages.models.resshift.ResShiftModel` for shapes and ranges."""

    @property
    def scale(self) -> int: ...
    @property
    def process(self) -> P: ...
    @property
    def multiple(self) -> int: ...
    @property
    def noise_channels(self) -> int: ...
    def encode_lr(self, lr: Tensor) -> Tensor: ...
    def predict_x0(
        self, z_t: Tensor, t: Tensor, lr: Tensor, zy: Tensor, process: P | None = None,
        planes: Tensor | None = None,
    ) -> Tensor: ...  # fmt: skip
    def decode(self, latent: Tensor) -> Tensor: ...


@torch.no_grad()
def super_resolve(
    model: Denoiser[P],
    lr: Tensor,
    *,
    steps: int | None = None,
    seed: int = 0,
    name: str = "",
    tile: int | None = None,
    overlap: int = OVERLAP,
    colour_fix: ColourFix | None = None,
) -> Tensor:
    """One image: lr float [3, h, w] in [0, 1] of any size -> [3, h*scale, w*scale] in [0, 1].

    `steps` defaults to the trained process. The noise is a function of `seed`, the image's `name` and the size of its
    latent, never of the tiles. `tile` and `overlap` are in LR pixels; the networks see no more than a tile at once,
    everything else grows with the image, by about 80 bytes an HR pixel. Raises ValueError for settings that do not fit.
    """
    height, width = lr.shape[-2:]
    padded = pad_to_multiple(lr[None], model.multiple)
    tiling = Tiling.plan(padded.shape[-2], padded.shape[-1], model.multiple, tile, overlap)
    process = model.process.respaced(steps or model.process.timesteps)
    image = _sampled(model, padded, tiling, process, Noise(seed), name)[0]
    image = image[:, : height * model.scale, : width * model.scale]
    if colour_fix is not None:
        bicubic = interpolate(lr[None], scale_factor=float(model.scale), mode="bicubic")
        image = fix_colours(colour_fix, image, bicubic[0])
    return image.clamp(0, 1)


def _sampled(model: Denoiser[P], lr: Tensor, tiling: Tiling, process: P, source: Noise, name: str) -> Tensor:
    """The decoded end of the chain, [1, 3, H, W], not clamped; `lr` [1, 3, h, w] has a size that the network takes."""
    zy = tiling.blend(lambda tile: model.encode_lr(tile.of(lr)))

    def noise(k: int) -> Tensor:
        return source.normal(f"sample/{k}", [name], zy.shape[1:]).to(zy)

    planes: Tensor | None = None
    if model.noise_channels:  # one field for the whole image, as the chain's noise is
        planes = source.normal("sample/planes", [name], (model.noise_channels, *zy.shape[-2:])).to(zy)

    def predict_x0(z: Tensor, t: Tensor) -> Tensor:
        return tiling.blend(
            lambda tile: model.predict_x0(
                tile.of(z), t, tile.of(lr), tile.of(zy), process, None if planes is None else tile.of(planes)
            )
        )

    z0 = process.sample(zy, predict_x0, noise)
    return (tiling.blend(lambda tile: model.decode(tile.of(z0))) + 1) / 2
