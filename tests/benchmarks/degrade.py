"""Pairs per CPU-second of basicsr's pipeline, of a plain OpenCV port of it, and of the CPU engine, on one thread.

    python -m tests.benchmarks.degrade [--size 512 256] [--pairs 120] [--reference 32] [--workers]

All three degrade the same area of the same photographs (the engine's context is switched off for that), from crops in
memory to 8-bit pairs in memory, turn by turn, so that neighbours on the machine slow all of them alike. Then the
engine's operators one by one, each beside the least that it could take on this machine; what storing a pair adds; and
the memory of a worker. `--workers` compares two Ray workers with one instead; it needs two cores to itself.

basicsr draws its sizes once for a batch, so few pairs say little: quote ratios of `--reference 160`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from degrade.engine import finish, prepare, render
from degrade.preset import Preset
from degrade.presets import load_preset
from degrade.recipe import Recipe, sample_recipe
from tests.support import basicsr_reference, degrade_port
from tests.support.basicsr_reference import Reference
from tests.support.degrade_bounds import Machine
from tests.support.degrade_pool import DIGEST, PHOTOS, peak_memory, photograph, storing, throughput

BATCHES = (1, 2, 4, 8)
ROUNDS = 4
TARGETS = {True: (40, 25), False: (8, 5)}


def variant(sharpen: bool, context: bool) -> Preset:
    """real-esrgan with or without sharpening and context."""
    value = load_preset("real-esrgan").model_dump(mode="json")
    if not sharpen:
        value |= {"sharpen": None, "hr": "raw"}
    if not context:
        value["crop"] = {"mode": "native", "margin": 0, "phases": 1}
    return Preset.model_validate(value)


def draw(preset: Preset, photo: np.ndarray, crop: int, size: int) -> Recipe:
    shape = (photo.shape[0], photo.shape[1])
    return sample_recipe(preset, seed=1, image=DIGEST, crop=crop, image_size=shape, hr_size=size, scale=4)


@dataclass
class Contender:
    """Something that makes pairs: `make` takes the number of the first and gives how many it made."""

    name: str
    make: Callable[[int], int]
    pairs: int
    seconds: list[float] = field(default_factory=list)
    made: int = 0

    def turn(self) -> None:
        """Make a share of the pairs; CPU time is that of the process."""
        start, until = time.process_time(), self.made + max(1, self.pairs // ROUNDS)
        while self.made < until:
            self.made += self.make(self.made)
        self.seconds.append(time.process_time() - start)

    @property
    def rate(self) -> float:
        """Pairs per CPU-second, over all turns."""
        return self.made / sum(self.seconds)


def engine(size: int, sharpen: bool, pairs: int) -> Contender:
    preset = variant(sharpen, context=False)
    photos = [photograph(name, size, size) for name in PHOTOS]

    def make(number: int) -> int:
        photo = photos[number % len(photos)]
        render(photo, draw(preset, photo, number, size))
        return 1

    return Contender("CPU engine", make, pairs)


def port(size: int, sharpen: bool, pairs: int) -> Contender:
    photos = [photograph(name, size, size) for name in PHOTOS]

    def make(number: int) -> int:
        degrade_port.port(photos[number % len(photos)], sharpen)
        return 1

    return Contender("OpenCV port", make, pairs)


def reference(size: int, sharpen: bool, pairs: int, batch: int) -> Contender:
    photos = [photograph(name, size, size) for name in PHOTOS]
    pipeline = Reference(sharpen=sharpen)

    def make(number: int) -> int:
        chosen = np.stack([photos[(number + index) % len(photos)] for index in range(batch)])
        hr = torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous().float() / 255
        pipeline(hr)
        return batch

    return Contender(f"basicsr, batch {batch}", make, pairs)


def compare(size: int, sharpen: bool, pairs: int, referred: int) -> None:
    """Print pairs per CPU-second of the three, and the ratios."""
    basicsr_reference.seed(0)
    ours, ported = engine(size, sharpen, pairs), port(size, sharpen, pairs // 2)
    batches = [reference(size, sharpen, referred, batch) for batch in BATCHES if referred >= batch]
    for contender in (ours, ported):
        contender.make(0)  # tables, imports, caches
    for _ in range(ROUNDS):
        for contender in (ours, ported, *batches):
            contender.turn()
    theirs = max(batches, key=lambda contender: contender.rate, default=None)
    print(f"  {'with USM' if sharpen else 'without USM'}")
    for contender in (*batches, ported, ours):
        mark = " (best)" if contender is theirs else ""
        print(f"    {contender.name + mark:26s} {contender.rate:8.2f} pairs/CPU-s   {contender.made} pairs")
    print(f"    {'engine over the port':26s} {ours.rate / ported.rate:8.1f}x")
    if theirs is not None:
        goal = f"   (target {TARGETS[sharpen][0]}x, floor {TARGETS[sharpen][1]}x at HR 512)" if size == 512 else ""
        print(f"    {'engine over basicsr':26s} {ours.rate / theirs.rate:8.1f}x{goal}")


Timed = tuple[float, float, str]  # CPU-seconds taken, the least they could be, and what that is


def split(preset: Preset, size: int, pairs: int, machine: Machine) -> dict[str, list[Timed]]:
    """Operator id -> one entry a call."""
    photos = [photograph(name, size, size) for name in PHOTOS]
    spent: dict[str, list[Timed]] = defaultdict(list)
    for number in range(-4, pairs):  # four to warm up
        photo = photos[number % len(photos)]
        start = time.process_time()
        recipe = draw(preset, photo, number % 10_000, size)
        calls: list[tuple[str, Timed]] = [("draw", (time.process_time() - start, 0.0, "Python"))]
        start = time.process_time()
        _, state = prepare(photo, recipe)
        calls.append(("crop, sharpen", (time.process_time() - start, *machine.prepare(recipe))))
        for step in recipe.steps:
            before = state.copy()
            start = time.process_time()
            state = step.render(state)
            calls.append((step.id, (time.process_time() - start, *machine.step(step, before, state))))
        start = time.process_time()
        lr = finish(state, recipe)
        calls.append(("cut, round", (time.process_time() - start, *machine.finish(lr))))
        for name, timed in calls if number >= 0 else ():
            spent[name].append(timed)
    return spent


def show_split(size: int, pairs: int, machine: Machine) -> None:
    """Print where the engine's time goes, with sharpening, and how far from its bound each operator is."""
    spent = split(variant(True, context=False), size, pairs, machine)
    head = ("ms a pair", "ms a call", "least", "ratio")
    print(f"  {'operator':16s}" + "".join(f"{name:>11s}" for name in head) + "   the least is")
    total = least = 0.0
    for name, calls in sorted(spent.items(), key=lambda item: -sum(call[0] for call in item[1])):
        took, bound = sum(call[0] for call in calls), sum(call[1] for call in calls)
        total, least = total + took, least + bound
        ratio = f"{took / bound:10.1f}x" if bound else f"{'':>11s}"
        kinds = " or ".join(sorted({call[2] for call in calls}))
        per_call = (1e3 * took / pairs, 1e3 * took / len(calls), 1e3 * bound / len(calls))
        print(f"  {name:16s}" + "".join(f"{value:11.3f}" for value in per_call) + f"{ratio}   {kinds}")
    print(f"  {'all':16s}{1e3 * total / pairs:11.3f}{'':11s}{1e3 * least / pairs:11.3f}{total / least:10.1f}x")


def show_storing(size: int, pairs: int) -> None:
    """Print what encoding and writing add to the engine, with the preset as it is."""
    for sharpen in (True, False):
        bare, stored, png = (1e3 * value for value in storing(variant(sharpen, context=True), size, pairs))
        label = "with USM" if sharpen else "without USM"
        print(
            f"  stored, {label:12s} {stored:7.2f} ms a pair, {stored / bare:.2f} of the engine's {bare:.2f} "
            f"(goal 1.8); PNG alone {png:.2f}, the rest {stored - bare - png:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="*", default=[512, 256])
    parser.add_argument("--pairs", type=int, default=120, help="pairs of the engine; half as many of the port")
    parser.add_argument(
        "--reference", type=int, default=32, help="pairs of basicsr at each batch size; 0: leave it out"
    )
    parser.add_argument("--workers", action="store_true", help="two Ray workers against one, and no more")
    parser.add_argument("--pool", type=int, default=48, help="photographs of the pool for --workers")
    arguments = parser.parse_args()
    if arguments.workers:
        one, two = (throughput(workers, arguments.pool, crops=40) for workers in (1, 2))
        print(
            f"degrade.pairs at HR 256 on Ray: one worker {one:.1f} pairs/s, two {two:.1f}: {two / one:.2f}x (goal 1.8)"
        )
        return
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    machine = Machine.measured()
    print(
        f"scale 4, one thread, OpenCV {cv2.__version__}, torch {torch.__version__}, NumPy {np.__version__}\n{machine}"
    )
    for size in arguments.size:
        print(f"HR {size}")
        for sharpen in (True, False):
            compare(size, sharpen, arguments.pairs, arguments.reference)
        show_split(size, arguments.pairs, machine)
        show_storing(size, arguments.pairs // 2)
    print(f"peak memory of a worker, HR 512 from photographs of 4 MP: {peak_memory(3, 8):.0f} MB (goal 600)")


if __name__ == "__main__":
    main()
