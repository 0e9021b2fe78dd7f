"""What generator and discriminator minimise. Logits of any shape, larger for "real"; every loss is a scalar."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

GanKind: TypeAlias = Literal["hinge", "vanilla", "lsgan"]


def discriminator_loss(kind: GanKind, real: Tensor, fake: Tensor) -> Tensor:
    """Half the sum of what is paid on `real` and on `fake` logits; images behind `fake` should be detached.

    =======  ==========================  ====================  ==========================================
    kind     on real                     on fake               source
    =======  ==========================  ====================  ==========================================
    hinge    relu(1 - D)                 relu(1 + D)           Lim and Ye, arXiv 1705.02894
    vanilla  softplus(-D)                softplus(D)           Goodfellow et al. 2014, from logits
    lsgan    (D - 1)^2                   D^2                   Mao et al., arXiv 1611.04076, equation 9
    =======  ==========================  ====================  ==========================================
    """
    real, fake = real.float(), fake.float()
    if kind == "hinge":
        return (relu(1 - real).mean() + relu(1 + fake).mean()) / 2
    if kind == "vanilla":
        return (softplus(-real).mean() + softplus(fake).mean()) / 2
    if kind == "lsgan":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    raise _unknown(kind)


def generator_loss(kind: GanKind, fake: Tensor) -> Tensor:
    """hinge: -D(fake); vanilla: softplus(-D), which does not saturate; lsgan: (D - 1)^2 / 2."""
    fake = fake.float()
    if kind == "hinge":
        return -fake.mean()
    if kind == "vanilla":
        return softplus(-fake).mean()
    if kind == "lsgan":
        return (fake - 1).square().mean() / 2
    raise _unknown(kind)


def r1_penalty(logits: Tensor, images: Tensor, *, gamma: float) -> Tensor:
    """gamma / 2 * E || dD/dx ||^2 on real images (Mescheder et al., arXiv 1801.04406, equation 9).

    `logits` = D(`images`), and `images` [B, ...] require grad. D of an image is the sum of its logits.
    """
    (slope,) = torch.autograd.grad(logits.float().sum(), images, create_graph=True)
    penalty: Tensor = slope.float().square().flatten(1).sum(1).mean() * (gamma / 2)
    return penalty


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """How much the adversarial loss should weigh for its gradient to be as long as the reconstruction's.

    lambda = |d reconstruction / d W| / (|d adversarial / d W| + delta) with W the weight of the decoder's last layer,
    a constant to gradients (Esser et al., VQGAN, arXiv 2012.09841, equation 7). delta is 1e-4 and lambda at
    most 1e4, as in the authors' code (the paper prints 1e-6). Both losses are scalars whose graph is kept. In a
    gang every rank finds its own; average it over ranks where they have to agree.
    """
    (of_reconstruction,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (of_adversarial,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    ratio = of_reconstruction.float().norm() / (of_adversarial.float().norm() + 1e-4)
    weight: Tensor = ratio.clamp(max=1e4).detach()
    return weight


def _unknown(kind: str) -> ValueError:
    return ValueError(f"GAN loss: expected hinge, vanilla or lsgan, got {kind!r}")
