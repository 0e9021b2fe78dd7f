"""The process-wide numerics of a stage that computes with torch, set for its duration and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch


@contextmanager
def numerics(threads: int, *, reproducible: bool) -> Iterator[None]:
    """`threads` CPU threads (they order sums) and, if `reproducible`, only algorithms that repeat bit for bit."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with suppress(RuntimeError):  # it can be set once a process, before the pool starts; it orders no sum
        torch.set_num_interop_threads(1)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(reproducible)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether CUDA may compute float32 products and convolutions with TF32's 10 bits of mantissa; put back after."""
    products, convolutions = torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", None)
    name, value = "fp32_precision", "tf32" if allowed else "ieee"
    settings: list[tuple[Any, str, Any]] = [(products, name, value), (convolutions, name, value)]
    if convolutions is None:  # before torch 2.9
        settings = [(products, "allow_tf32", allowed), (torch.backends.cudnn, "allow_tf32", allowed)]
    before = [(backend, name, getattr(backend, name)) for backend, name, _ in settings]
    for backend, name, wanted in settings:
        setattr(backend, name, wanted)
    try:
        yield
    finally:
        for backend, name, found in before:
            setattr(backend, name, found)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's own generator seeded, for weight initialisation; its state afterwards is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
