"""The convolutions of AlexNet and VGG-16 that LPIPS looks at, with torchvision's places as names.

torchvision itself is not imported: its compiled operators do not load on every machine. Module ``features.N`` here is
``features.N`` of torchvision's ``alexnet`` and ``vgg16``; the classifiers are left out.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from torch import Tensor, nn

TrunkName: TypeAlias = Literal["alex", "vgg"]

TAPS: Final[dict[TrunkName, tuple[int, ...]]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""The rectifiers whose outputs are compared: relu1 to relu5, and relu1_2, 2_2, 3_3, 4_3, 5_3."""

CHANNELS: Final[dict[TrunkName, tuple[int, ...]]] = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
"""Channels of each output."""

SMALLEST: Final[dict[TrunkName, int]] = {"alex": 31, "vgg": 16}
"""Least image side that leaves the last output a pixel."""


class Trunk(nn.Module):
    """`forward`: [B, 3, H, W], normalised as the trunk was trained, -> the five outputs of :data:`TAPS`."""

    def __init__(self, name: TrunkName) -> None:
        super().__init__()
        self.taps = TAPS[name]
        self.features = nn.Sequential(*(_alexnet() if name == "alex" else _vgg16()))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.taps:
                found.append(x)
        return found


def _alexnet() -> list[nn.Module]:
    """Up to relu5 (Krizhevsky, arXiv 1404.5997, one column)."""
    return [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip


def _vgg16() -> list[nn.Module]:
    """Up to relu5_3 (Simonyan and Zisserman, arXiv 1409.1556, configuration D)."""
    layers: list[nn.Module] = []
    before = 3
    for block, (width, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if block:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
    return layers
