"""What generator and discriminator minimise. Logits of any shape, larger for "real"; every loss is a scalar."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus
from torch.nn.grad import conv2d_weight

from stages.losses.config import GanKind


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


def adaptive_weights(
    reconstruction: Tensor, adversarial: Tensor, answer: Tensor, features: Tensor, last_layer: nn.Conv2d
) -> Tensor:
    """How much the adversarial loss of each image should weigh for its gradient to be as long as its reconstruction's.

    [B], constants to gradients: lambda = |d reconstruction / d W| / (|d adversarial / d W| + delta) with W the weight
    of the decoder's last layer (Esser et al., VQGAN, arXiv 2012.09841, equation 7). delta is 1e-4 and lambda at most
    1e4, as in the authors' code (the paper prints 1e-6). `answer` [B, 3, H, W] = `last_layer`(`features`), and both
    losses are *sums* over its images, each a function of its own image, with a graph that is kept.

    The authors take one lambda for all images that a GPU holds, so theirs depends on how a batch is dealt out. One for
    each image is theirs at a batch of one, and the same for any number of ranks and any micro-batch.
    """
    of_reconstruction, of_adversarial = (
        _lengths(torch.autograd.grad(loss, answer, retain_graph=True)[0], features, last_layer)
        for loss in (reconstruction, adversarial)
    )
    return (of_reconstruction / (of_adversarial + 1e-4)).clamp(max=1e4)


@torch.no_grad()
def _lengths(gradients: Tensor, features: Tensor, layer: nn.Conv2d) -> Tensor:
    """[B]: the length of each image's part of the gradient of `layer`'s weight, given that of the layer's output."""
    assert not isinstance(layer.padding, str)
    with torch.autocast(gradients.device.type, enabled=False):
        return torch.stack(
            [
                conv2d_weight(  # type: ignore[no-untyped-call]
                    features[i : i + 1].float(), layer.weight.shape, gradients[i : i + 1].float(),
                    stride=layer.stride, padding=layer.padding, dilation=layer.dilation,
                ).norm()
                for i in range(len(features))
            ]
        )  # fmt: skip


def _unknown(kind: str) -> ValueError:
    return ValueError(f"GAN loss: expected hinge, vanilla or lsgan, got {kind!r}")
