"""Exponential moving average of a network's weights: what a training stage exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """average <- average + (1 - decay) * (weights - average) after every step; buffers are copied as they are.

    Every rank holds and updates its own: weights are the same everywhere, so averages are, without a word exchanged.
    The network's tensors must stay where they are (moved to their device before).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = network
        live = {name: value.detach() for name, value in network.state_dict().items()}
        self.average = {name: value.clone() for name, value in live.items()}
        parameters = {name for name, _ in network.named_parameters()}
        self._weights = [live[name] for name in live if name in parameters]
        self._averages = [self.average[name] for name in live if name in parameters]
        self._buffers = [(self.average[name], value) for name, value in live.items() if name not in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of this step in: all of them in one call, which on an accelerator is a few kernels."""
        torch._foreach_lerp_(self._averages, self._weights, 1 - self.decay)
        for average, value in self._buffers:
            average.copy_(value)

    def load(self, average: Mapping[str, Tensor]) -> None:
        for name, value in self.average.items():
            value.copy_(average[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Run the network with the averaged weights; the trained ones come back unchanged."""
        trained = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        mode = self.network.training
        self.network.load_state_dict(self.average)
        self.network.eval()
        try:
            yield
        finally:
            self.network.load_state_dict(trained)
            self.network.train(mode)
