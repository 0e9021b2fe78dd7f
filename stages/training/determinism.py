"""The process-wide numerics of a stage that computes with torch, set for its duration and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
def seeded(seed: int) -> Iterator[None]:
    """torch's own generator seeded, for weight initialisation; its state afterwards is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
