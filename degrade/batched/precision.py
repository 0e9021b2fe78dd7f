"""Full float32, whatever a training loop has switched on around the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Without TF32 and autocast inside the block.

    TF32 keeps 10 bits of a factor: half a code value of every resize. The setting is global to the process and is put
    back after the block.
    """
    before = _precisions()
    _set(["ieee"] * len(before))
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        _set(before)


def _precisions() -> list[str]:
    """Of CUDA's and of the CPU's matrix products; before torch 2.9 the one setting of both."""
    found = [backend.fp32_precision for backend in _backends()]
    return found or [torch.get_float32_matmul_precision()]


def _set(values: list[str]) -> None:
    """Through the new way to say it where there is one: torch refuses to speak of the old one once it was used."""
    backends = _backends()
    for backend, value in zip(backends, values, strict=False):
        backend.fp32_precision = value
    if not backends:
        torch.set_float32_matmul_precision("highest" if values == ["ieee"] else values[0])


def _backends() -> list[Any]:
    both = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
    return [backend for backend in both if _speaks(backend)]


def _speaks(backend: Any) -> bool:
    try:
        return isinstance(backend.fp32_precision, str)
    except (AttributeError, AssertionError):  # torch's settings object raises either for a name it does not know
        return False
