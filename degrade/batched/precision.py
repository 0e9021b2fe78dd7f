"""Full float32, whatever a training loop has switched on around the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Without TF32 and autocast inside the block.

    TF32 keeps 10 bits of a factor: half a code value of every resize. The setting is global to the process and is put
    back after the block.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
