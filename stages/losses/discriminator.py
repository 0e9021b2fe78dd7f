"""The patch discriminator of pix2pix and VQGAN: every output judges one patch of the image."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

PatchNorm: TypeAlias = Literal["batch", "group", "none"]


class PatchDiscriminator(nn.Module):
    """`forward`: images [B, channels, H, W] -> logits [B, 1, h, w]; with 3 `layers` each logit sees 70 x 70 pixels.

    Isola et al. (arXiv 1611.07004, section 6.1.2): 4 x 4 convolutions, `layers` of stride 2 then two of stride 1,
    channels doubling from `width` to at most eight times that, leaky ReLU of slope 0.2, weights from N(0, 0.02).
    `norm` stands after every convolution but the first and the last. "batch" is the papers', and its state dict has
    the names of VQGAN's (``main.0.weight`` ...); "group" does not look at the other images of a batch, so it does
    not change with micro-batches. `spectral` divides every weight by its largest singular value (Miyato et al.,
    arXiv 1802.05957), which goes with norm="none".

    H and W of at least 2^(layers + 1) + 2^layers keep h and w positive. Raises ValueError for an unknown `norm`.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, layers: int = 3, norm: PatchNorm = "batch", spectral: bool = False
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(channels, width, 4, stride=2, padding=1), _leaky())
        before = width
        for layer in range(1, layers + 1):
            after = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            self.main.append(nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=norm != "batch"))
            self.main.extend(_norm(norm, after))
            self.main.append(_leaky())
            before = after
        self.main.append(nn.Conv2d(before, 1, 4, padding=1))
        self.apply(_initialise)
        if spectral:
            for module in self.main:
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.main(images)
        return logits


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def _norm(norm: PatchNorm, channels: int) -> list[nn.Module]:
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "group":
        return [nn.GroupNorm(8, channels)]
    raise ValueError(f"patch discriminator: norm: expected batch, group or none, got {norm!r}")


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
