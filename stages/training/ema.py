"""Exponential moving average of a network's weights: what a training stage exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """average <- decay * average + (1 - decay) * weights after every step; buffers are copied as they are."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = network
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.averaged = {name for name, _ in network.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        for name, value in self.network.state_dict().items():
            if name in self.averaged:
                self.average[name].lerp_(value, 1 - self.decay)
            else:
                self.average[name].copy_(value)

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
