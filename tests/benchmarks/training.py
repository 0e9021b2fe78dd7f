"""The training loop on two cores: steps a second, how far ahead of it the loader is, and what checkpoints cost.

    python -m tests.benchmarks.training

The teacher of `specs/quickstart.yaml` (its network, batch and process) on pairs of HR 128 that are bundled photographs.
A loader's rate is that of batches taken as fast as they come, from a cold cache and from a warm one. Fails when the
loader gives less than five times what a step takes, or checkpoints stall it for 2 % of the time or more.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from stages.data.opening import open_pairs
from stages.methods.resshift import ResShiftConfig, TrainResShift
from stages.training.loader import PairLoader
from tests.support.harness import FolderArtifact, run_stage
from tests.support.pairs import ingest, synthesise
from tests.support.photos import copy_photos

STEPS, WINDOW = 30, 10
"""Steps in all, and between two lines of metrics; a checkpoint falls into each window."""
CHECKPOINT_EVERY = 50  # steps, as in the quickstart
TIMES_FASTER, LARGEST_STALL = 5.0, 0.02
SPEC = Path(__file__).resolve().parents[2] / "specs" / "quickstart.yaml"


def teacher(**changed: Any) -> dict[str, Any]:
    """The settings of the quickstart's teacher."""
    given: dict[str, Any] = yaml.safe_load(SPEC.read_text())["stages"]["teacher"]["with"]
    return {**given, "seed": 7, "picture_every": 0, "validate_every": 0, **changed}


def feed_rate(pairs: FolderArtifact, config: ResShiftConfig, seconds: float, warm: bool) -> float:
    """Samples a second of a loader whose batches are taken as fast as they come."""
    size = config.training.batch_size
    with PairLoader(open_pairs(pairs, split="train"), 4, config) as loader:
        first = 0
        if warm:
            for _ in range(len(loader.pairs) // size + 1):
                loader.batch(first)
                first += size
        began, start = time.perf_counter(), first
        while time.perf_counter() - began < seconds:
            loader.batch(first)
            first += size
        return (first - start) / (time.perf_counter() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = ingest(folder / "images", copy_photos(folder / "photos"), split={"val": 0, "test": 0})
        pairs = synthesise(folder / "pairs", images, preset="bicubic", hr_size=128, crops=32, shards=8)
        settings = teacher(steps=STEPS, log_every=WINDOW, checkpoint_every=WINDOW)
        lines = run_stage(TrainResShift, folder / "train", settings, {"pairs": pairs}).context.recorded
        config = ResShiftConfig(**settings)
        cold, warm = (feed_rate(pairs, config, 2.0, warm) for warm in (False, True))
    size = config.training.batch_size
    seen = [line for _, line in lines][1:]  # the first holds everything that happens once
    used = sum(line["samples_per_second"] for line in seen) / len(seen)
    median, p95 = (sum(line[name] for line in seen) / len(seen) for name in ("step_ms_median", "step_ms_p95"))
    one = sum(line["checkpoint_stall"] * WINDOW * size / line["samples_per_second"] for line in seen) / len(seen)
    stall = one / (one + CHECKPOINT_EVERY * median / 1e3)
    waits = sum(line["data_wait"] for line in seen) / len(seen)
    print(f"tiny teacher, batch {size}, {config.threads} threads")
    print(f"  step          {used / size:8.2f} a second   median {median:.0f} ms, 95 % within {p95:.0f} ms")
    print(f"  samples       {used:8.1f} a second   {waits:.2%} of the time without data")
    print(f"  loader, cold  {cold:8.1f} a second   {cold / used:.1f} times what a step takes")
    print(f"  loader, warm  {warm:8.1f} a second   {warm / used:.1f} times (at least {TIMES_FASTER:g} wanted)")
    print(f"  checkpoint    {1e3 * one:8.1f} ms         {stall:.2%} at one in {CHECKPOINT_EVERY} steps (< 2 % wanted)")
    print(f"  memory        {seen[-1]['peak_memory_gb']:8.2f} GB resident at most")
    if min(cold, warm) < TIMES_FASTER * used or stall >= LARGEST_STALL:
        sys.exit("a bound above is not kept")


if __name__ == "__main__":
    main()
