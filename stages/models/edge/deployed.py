"""What ships: an edge model in which everything is folded that is a constant at the one step it is asked at.

The embedding of t becomes biases, z_T of z_l a part of the first convolution, and the way from v to z_h one of the
last. Where inference has no noise, z_T is a multiple of z_l, and the first convolution takes z_l alone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stages.models.edge.model import EdgeModel
from stages.models.latent_space import TrainedAutoencoder


class EdgeDeployed(nn.Module):
    """`forward(lr)`, and for a model with noise at inference `forward(lr, noise)`: its answers, without any t.

    lr [B, 3, h, w] in [0, 1], h and w multiples of `multiple`; `noise` N(0, 1) of the latent's shape; the image
    [B, 3, h*scale, w*scale] in [0, 1]. The weights are copies, in evaluation mode. `pixel_shuffle` rewrites a decoder
    that enlarges by nearest neighbours. Raises ValueError for a model that needs a trained autoencoder.
    """

    @torch.no_grad()
    def __init__(self, model: EdgeModel, *, pixel_shuffle: bool = False) -> None:
        super().__init__()
        leans = model.encoder is None or model.decoder is None
        if leans and isinstance(model.autoencoder, TrainedAutoencoder):
            raise ValueError("deployed: expected an encoder and a decoder of the model's own; train them first")
        self.multiple, self.scale, self.noisy = model.multiple, model.scale, model.process.inference_k > 0
        network = model.network.fold(model.process.last)
        self.passed_on = _fold_ends(model, network)
        self.around = _without_network(model)
        self.network = network
        if pixel_shuffle and self.around.decoder is not None:
            self.around.decoder = self.around.decoder.shuffled()
        self.eval().requires_grad_(False)

    def forward(self, lr: Tensor, noise: Tensor | None = None) -> Tensor:
        if (noise is not None) != self.noisy:
            raise ValueError("noise: expected a plane of it" if self.noisy else "noise: expected none, k is 0")
        z_l = self.around.encode_lr(lr)
        z_h = self.network.through(z_l if noise is None else torch.cat([noise, z_l], dim=1))
        for share, part in zip(self.passed_on, (z_l, noise), strict=True):
            if share and part is not None:
                z_h = z_h + share * part
        decoder = self.around.decoder
        image = (self.around.decode(z_h) + 1) / 2 if decoder is None or decoder.residual else decoder.layers(z_h)
        return image.clamp(0, 1)


def _without_network(model: EdgeModel) -> EdgeModel:
    """A copy that encodes and decodes only."""
    network, model.network = model.network, nn.Identity()  # type: ignore[assignment]
    try:
        return copy.deepcopy(model)
    finally:
        model.network = network


def _fold_ends(model: EdgeModel, network: nn.Module) -> tuple[float, float]:
    """Make `network` take z_l, or noise and z_l, and answer z_h - (p z_l + q noise), by its first and last layer.

    Gives p and q. With z_T = m z_l + n noise of `process.start` and i the scale of z_T, the first convolution, whose
    weights are [W1, W2], is given i (m z_l + n noise) and z_l: it is [i n W1, i m W1 + W2] of noise and z_l.
    """
    process = model.process
    t, like = torch.tensor([process.last]), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    m = float(process.start(torch.ones_like(like), None))
    n = float(process.start(like, torch.ones_like(like)))
    i = float(process.input_scale(t, like))
    of_z_t, of_z_l = network.stem.weight.chunk(2, dim=1)  # type: ignore[union-attr,operator]
    parts = [i * m * of_z_t + of_z_l]
    if process.inference_k > 0:
        parts.insert(0, i * n * of_z_t)
    weight = torch.cat(parts, dim=1)
    network.stem.weight = nn.Parameter(weight)  # type: ignore[union-attr]
    network.stem.in_channels = weight.shape[1]  # type: ignore[union-attr]
    # z_h = x0(z_T, answer) is linear in both
    of_answer = float(process.x0(like, t, torch.ones_like(like)))
    of_start = float(process.x0(torch.ones_like(like), t, like))
    network.head.weight.mul_(of_answer)  # type: ignore[union-attr,operator]
    network.head.bias.mul_(of_answer)  # type: ignore[union-attr,operator]
    return of_start * m + model.residual * of_answer, of_start * n
