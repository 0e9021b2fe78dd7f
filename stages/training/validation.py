"""Loss and PSNR on held-out pairs while training, with the averaged weights and the same noise every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from stages.data.index import Pairs
from stages.data.tensors import to_image, to_pixels
from stages.diffusion.noise import Noise
from stages.metrics.fidelity import psnr, rgb
from stages.training.config import TrainConfig
from stages.training.method import Batch, Method
from stages.training.ranks import Ranks, share_of
from stages.training.state import TrainState


class Validation:
    """The first pairs of a validation split, dealt out over ranks.

    Losses are those of every phase on the centre of each pair, as large as training samples are; pairs that are
    smaller count for PSNR only (RGB, 8 bits, no border), which is that of whole super-resolved images. Noise is
    drawn by negative sample indices, which no training sample has.
    """

    def __init__(self, pairs: Pairs, scale: int, side: tuple[int, int], config: TrainConfig, ranks: Ranks) -> None:
        """`side` is (height, width) of LR training samples."""
        self.pairs, self.scale, self.side, self.ranks = pairs, scale, side, ranks
        self.noise = Noise(config.seed)
        self.places = range(*share_of(min(config.validation_pairs, len(pairs)), ranks))

    def measure(self, method: Method, state: TrainState, device: str) -> dict[str, float]:
        """``validation/psnr`` in dB and ``validation/loss`` (of each phase, if there are several): means over pairs.

        Collective: the same numbers on every rank.
        """
        names = [f"{phase.name}/loss" if len(method.phases) > 1 else "loss" for phase in method.phases]
        sums = dict.fromkeys(("psnr", "pairs", *names, "fitting"), 0.0)
        with averaged_weights(state), torch.no_grad():
            for i in self.places:
                lr, hr = self.pairs.read_pair(i)
                answer = to_pixels(method.preview(to_image(lr).to(device), self.pairs.key(i)))
                sums["psnr"] += psnr(rgb(answer), rgb(hr))
                sums["pairs"] += 1
                batch = self._centre(i, lr, hr)
                if batch is None:
                    continue
                sums["fitting"] += 1
                for name, phase in zip(names, method.phases, strict=True):
                    sums[name] += float(phase.losses(batch.to(device))["loss"])
        sums = self.ranks.sum_values(sums)
        out = {"validation/psnr": sums["psnr"] / sums["pairs"]}
        if sums["fitting"]:
            out |= {f"validation/{name}": sums[name] / sums["fitting"] for name in names}
        return out

    def _centre(self, i: int, lr: NDArray[np.uint8], hr: NDArray[np.uint8]) -> Batch | None:
        (height, width), s = self.side, self.scale
        top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
        if top < 0 or left < 0:
            return None
        lr = lr[top : top + height, left : left + width]
        hr = hr[s * top : s * (top + height), s * left : s * (left + width)]
        return Batch(to_image(lr)[None], to_image(hr)[None], (-1 - i,), (self.pairs.key(i),), self.noise)


@contextmanager
def averaged_weights(state: TrainState) -> Iterator[None]:
    """The networks in evaluation mode; those that keep an average run with it."""
    modes = {name: network.training for name, network in state.networks.items()}
    with ExitStack() as stack:
        for average in state.averages.values():
            stack.enter_context(average.in_place())
        for network in state.networks.values():
            network.eval()
        try:
            yield
        finally:
            for name, network in state.networks.items():
                network.train(modes[name])
