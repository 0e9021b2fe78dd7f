"""Images instead of pairs: the HR side of a pairs artifact, for what learns to give back what it is shown.

The loader, validation and order are those of every training. Nothing is degraded for it where pairs are stored; where
they are made on line the LR image is made and dropped, which ``preset: bicubic`` makes cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.stage import Artifact, Context, StageError
from stages.data.index import LrReader, PairReader, Pairs, Pixels
from stages.data.opening import open_pairs
from stages.data.pixels import encode_png
from stages.training.config import TrainConfig
from stages.training.pictures import HeldOutPictures


@dataclass(frozen=True)
class Images:
    """Pairs of scale 1, each an HR image of `pairs` twice: as what goes in and as what should come out."""

    pairs: Pairs

    @property
    def artifact(self) -> Artifact:
        return self.pairs.artifact

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def images(self) -> list[str]:
        return self.pairs.images

    def column(self, name: str) -> NDArray[Any]:
        return self.pairs.column(name)

    def key(self, i: int, epoch: int = 0) -> str:
        return self.pairs.key(i, epoch)

    def read_pair(self, i: int, epoch: int = 0) -> tuple[Pixels, Pixels]:
        hr = self.pairs.read_pair(i, epoch)[1]
        return hr, hr

    def reader(self, budget: int) -> PairReader:
        read = self.pairs.reader(budget)

        def images(i: int, epoch: int) -> tuple[Pixels, Pixels]:
            hr = read(i, epoch)[1]
            return hr, hr

        return images

    def lr_reader(self, budget: int) -> LrReader:
        read = self.reader(budget)
        return lambda i, epoch: read(i, epoch)[0]

    def hr_sizes(self) -> NDArray[np.int64]:
        return self.pairs.hr_sizes()

    @property
    def may_turn(self) -> bool:
        return self.pairs.may_turn


def training_images(artifact: Artifact, config: TrainConfig, multiple: int) -> tuple[Images, tuple[int, int]]:
    """The train split, and the (height, width) of its samples.

    `multiple` is what these must be multiples of. Raises StageError when the split does not fit batch, patch or that.
    """
    images = Images(open_pairs(artifact, split="train"))
    if len(images) < config.training.batch_size:
        raise StageError(
            f"{artifact.label}: a batch takes {config.training.batch_size} different images, the train split has "
            f"{len(images)}. Add images, cut more crops of each, or lower training.batch_size"
        )
    height, width = _side(images, config.data.patch)
    if height % multiple or width % multiple:
        raise StageError(
            f"{artifact.label}: samples of {width}x{height} do not fit the network, which takes multiples of "
            f"{multiple}; set data.patch"
        )
    return images, (height, width)


def _side(images: Images, patch: int | None) -> tuple[int, int]:
    sizes = images.hr_sizes()
    if patch is not None:
        if (least := int(sizes.min())) < patch:
            raise StageError(
                f"data.patch: expected at most the shortest HR side of {images.artifact.label}, {least}, got {patch}"
            )
        return patch, patch
    height, width = (int(side) for side in sizes[0])
    if (sizes != sizes[0]).any() or (images.may_turn and height != width):
        raise StageError(
            f"{images.artifact.label}: a batch takes HR images of one size, and here sizes are the photographs' own; "
            f"set data.patch, at most {int(sizes.min())} (the shortest side), to learn from random patches"
        )
    return height, width


@dataclass(frozen=True)
class Reconstructions(HeldOutPictures):
    """Held-out HR images and what the averaged weights give back."""

    @classmethod
    def of(cls, artifact: Artifact, ctx: Context) -> Reconstructions:
        found = super().of(artifact, ctx)
        return found if found.index is None else replace(found, index=Images(found.index))

    def show(self, name: str, lr: Pixels, sr: Pixels, hr: Pixels, step: int) -> None:
        self.ctx.image(f"{name}/input", encode_png(hr), step=step, caption="input")
        caption = f"reconstruction of {name} after {step} steps"
        self.ctx.image(f"{name}/reconstruction", encode_png(sr), step=step, caption=caption)
