"""Chains of small operations as one launch, where ``torch.compile`` is there to make them so.

On a GPU a launch takes some 5 microseconds however little it does. The integer generator (250 launches a group) and the
weights of resizing (25 to 100) are near half of all launches of a batch; compiled they are a few. Off by default: it
takes Triton on CUDA or a C++ compiler on the CPU, and seconds to minutes at the first batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
_ON: ContextVar[bool] = ContextVar("fused", default=False)


@contextmanager
def fusing(on: bool) -> Iterator[None]:
    """Inside the block functions marked :func:`fusable` run compiled, or not."""
    token = _ON.set(on)
    try:
        yield
    finally:
        _ON.reset(token)


def fusable(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Mark a function of tensors, numbers and names that depends on nothing else and waits for nothing."""

    @lru_cache(maxsize=1)
    def compiled() -> Callable[Arguments, Tensor]:
        return torch.compile(function, dynamic=True)

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        return compiled()(*args, **kwargs) if _ON.get() else function(*args, **kwargs)

    return call
