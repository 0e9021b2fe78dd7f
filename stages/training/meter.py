"""Where the time and the memory of a training go: observations beside its losses, never part of a result."""

from __future__ import annotations

import math
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch


class Meter:
    """Collects over some steps; :meth:`values` gives one line of metrics and begins anew.

    `samples_per_second` counts wall time, with everything that happens between steps. `data_wait` and
    `checkpoint_stall` are shares of it that the loop stood still. Step times are those of whole steps, without
    checkpoints, pictures and validation.
    """

    def __init__(self, device: str, flops_per_sample: float = 0.0, peak_tflops: float | None = None) -> None:
        self.device, self.flops_per_sample, self.peak_tflops = device, flops_per_sample, peak_tflops
        self._begin()

    def _begin(self) -> None:
        self.began = time.perf_counter()
        self.samples = 0
        self.steps: list[float] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, values: Mapping[str, float], samples: int) -> None:
        """Values of one update, of which those that are finite count, and how many samples it saw."""
        self.samples += samples
        for name, value in values.items():
            if math.isfinite(value):
                self.sums[name] += value
                self.counts[name] += 1

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around one step."""
        began = time.perf_counter()
        yield
        self.steps.append(time.perf_counter() - began)

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Around time that goes to `what` ("data_wait", "checkpoint_stall") instead of training."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began

    def values(self) -> dict[str, float]:
        """Means of what was added, and the observations named above."""
        wall = max(time.perf_counter() - self.began, 1e-9)
        rate = self.samples / wall
        line = {name: total / self.counts[name] for name, total in self.sums.items()}
        line |= {"samples_per_second": rate, "peak_memory_gb": peak_memory(self.device) / 1e9}
        line |= {what: self.seconds[what] / wall for what in ("data_wait", "checkpoint_stall")}
        if self.steps:
            median, p95 = np.percentile(self.steps, (50, 95))
            line |= {"step_ms_median": 1e3 * float(median), "step_ms_p95": 1e3 * float(p95)}
        if self.peak_tflops and self.flops_per_sample:
            line["flops_share"] = rate * self.flops_per_sample / (self.peak_tflops * 1e12)
        self._begin()
        return line


def peak_memory(device: str) -> int:
    """The most bytes ever in use: of the accelerator's memory, or of this process (resident) on the CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
