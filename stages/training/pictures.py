"""Sample pictures while training: a few held-out pairs and what the averaged weights make of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import torch

from pipelines.stage import Artifact, Context, StageError
from stages.data.index import Pairs, Pixels
from stages.data.opening import open_pairs
from stages.data.pixels import encode_png
from stages.data.tensors import to_image, to_pixels
from stages.training.method import Method
from stages.training.state import TrainState


@dataclass(frozen=True)
class HeldOutPictures:
    """LR, SR and HR of the first `count` pairs of `index` (none when there is no validation split)."""

    index: Pairs | None
    ctx: Context
    count: int = 2

    @classmethod
    def of(cls, artifact: Artifact, ctx: Context) -> Self:
        try:
            return cls(open_pairs(artifact, split="val"), ctx)
        except StageError as error:
            ctx.log.info("no sample pictures while training: %s", error)
            return cls(None, ctx)

    def record(self, method: Method, state: TrainState, device: str) -> None:
        if self.index is None:
            return
        with ExitStack() as stack, torch.no_grad():
            for average in state.averages.values():
                stack.enter_context(average.in_place())
            for i in range(min(self.count, len(self.index))):
                lr, hr = self.index.read_pair(i)
                name = self.index.key(i)
                sr = to_pixels(method.preview(to_image(lr).to(device), name))
                self.show(name, lr, sr, hr, state.step)

    def show(self, name: str, lr: Pixels, sr: Pixels, hr: Pixels, step: int) -> None:
        """Record the pictures of the pair `name`."""
        for what, pixels in (("lr", lr), ("sr", sr), ("hr", hr)):
            caption = f"{what.upper()} of {name} after {step} steps" if what == "sr" else what.upper()
            self.ctx.image(f"{name}/{what}", encode_png(pixels), step=step, caption=caption)
