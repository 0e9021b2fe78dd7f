"""Small tables on their way from Python to the device, without waiting for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def upload(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor on `device` of (nested lists of) numbers or a NumPy array; on CUDA the copy does not block the host."""
    host = torch.as_tensor(values, dtype=dtype)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def constant(make: Callable[[], Tensor]) -> Callable[[torch.device], Tensor]:
    """Decorate a function that makes a table: it becomes one of the device, and each device gets the table once.

    The table serves calls with and without gradients, so it is never made in inference mode, whose tensors autograd
    refuses for ever.
    """

    @lru_cache(maxsize=16)
    def on(device: torch.device) -> Tensor:
        with torch.inference_mode(False):
            return make().contiguous().to(device)

    return on
