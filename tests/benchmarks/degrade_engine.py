"""Pairs per CPU-second of the CPU engine, beside the reference operators of basicsr, in one run on one thread.

    python tests/benchmarks/degrade_engine.py [--size 512] [--pairs 40] [--reference 4]

Both sides degrade the same area (the engine's context is switched off for the comparison; what it costs is a line of
its own), from crops in memory to 8-bit pairs in memory. The reference is Real-ESRGAN's order of basicsr's operators,
with its own draws, in torch on one thread, batch 2.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable

import cv2
import numpy as np
import torch
from skimage import data
from torch.nn import functional

from degrade.basicsr_compat import degradations, diffjpeg, img_process_util
from degrade.engine import finish, prepare, render
from degrade.preset import Preset
from degrade.presets import load_preset
from degrade.recipe import sample_recipe

FAMILIES = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
WEIGHTS = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
MODES = ["area", "bilinear", "bicubic"]
PI = float(np.pi)


def photograph(size: int) -> np.ndarray:
    """A photograph of at least size + 128 in both directions."""
    factor = max(1.0, (size + 128) / 512)
    side = int(512 * factor)
    return np.asarray(cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC))


def variant(sharpen: bool, context: bool) -> Preset:
    """real-esrgan with or without sharpening and context."""
    value = load_preset("real-esrgan").model_dump(mode="json")
    if not sharpen:
        value |= {"sharpen": None, "hr": "raw"}
    if not context:
        value["crop"] = {"mode": "native", "margin": 0, "phases": 1}
    return Preset.model_validate(value)


def ours(preset: Preset, size: int, pairs: int) -> float:
    """CPU-seconds per pair, drawing the recipe included."""
    photo = photograph(size)
    digest = "ab" * 32

    def one(crop: int) -> None:
        shape = (photo.shape[0], photo.shape[1])
        render(photo, sample_recipe(preset, seed=1, image=digest, crop=crop, image_size=shape, hr_size=size, scale=4))

    for crop in range(8):
        one(crop)
    start = time.process_time()
    for crop in range(pairs):
        one(crop)
    return (time.process_time() - start) / pairs


def split(preset: Preset, size: int, pairs: int) -> dict[str, tuple[float, float]]:
    """Operator id -> (milliseconds a pair, milliseconds a call)."""
    photo = photograph(size)
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, call: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = call()
        spent[name].append(time.perf_counter() - start)
        return result

    cv2.setNumThreads(1)
    shape = (photo.shape[0], photo.shape[1])
    for crop in range(pairs):
        arguments = {"seed": 1, "image": "ab" * 32, "crop": crop, "image_size": shape, "hr_size": size, "scale": 4}
        recipe = timed("(draw the recipe)", lambda a=arguments: sample_recipe(preset, **a))
        _, state = timed("(crop and sharpen)", lambda r=recipe: prepare(photo, r))
        for step in recipe.steps:
            state = timed(step.id, lambda s=step, i=state: s.render(i))
        timed("(cut and round)", lambda i=state, r=recipe: finish(i, r))
    return {name: (1e3 * sum(times) / pairs, 1e3 * sum(times) / len(times)) for name, times in spent.items()}


class Reference:
    """Real-ESRGAN's pipeline over basicsr's operators (2.1 of its paper's released options)."""

    def __init__(self, sharpen: bool) -> None:
        self.ops = degradations()
        self.tools = img_process_util()
        self.usm = self.tools.USMSharp() if sharpen else None
        self.jpeg = diffjpeg().DiffJPEG(differentiable=False)

    def kernel(self, sigma: list[float]) -> np.ndarray:
        size = random.choice(range(7, 22, 2))
        if random.random() < 0.1:
            omega = random.uniform(PI / 3 if size < 13 else PI / 5, PI)
            kernel = self.ops.circular_lowpass_kernel(omega, size, pad_to=False)
        else:
            kernel = self.ops.random_mixed_kernels(
                FAMILIES, WEIGHTS, size, sigma, sigma, [-PI, PI], [0.5, 4], [1, 2], noise_range=None
            )
        pad = (21 - size) // 2
        return np.pad(kernel, pad)

    def kernels(self, count: int, sigma: list[float]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.kernel(sigma) for _ in range(count)])).float()

    def resize(self, image: torch.Tensor, weights: list[float], span: list[float], base: tuple[int, int] | None):
        direction = random.choices(["up", "down", "keep"], weights)[0]
        factor = {"up": random.uniform(1, span[1]), "down": random.uniform(span[0], 1), "keep": 1.0}[direction]
        mode = random.choice(MODES)
        if base is None:
            return functional.interpolate(image, scale_factor=factor, mode=mode)
        return functional.interpolate(image, size=tuple(int(side * factor) for side in base), mode=mode)

    def noise(self, image: torch.Tensor, sigma: list[float], scale: list[float]) -> torch.Tensor:
        options = {"gray_prob": 0.4, "clip": True, "rounds": False}
        if random.random() < 0.5:
            return self.ops.random_add_gaussian_noise_pt(image, sigma_range=sigma, **options)
        return self.ops.random_add_poisson_noise_pt(image, scale_range=scale, **options)

    def compress(self, image: torch.Tensor) -> torch.Tensor:
        quality = image.new_zeros(image.shape[0]).uniform_(30, 95)
        return self.jpeg(torch.clamp(image, 0, 1), quality=quality)

    def final(self, image: torch.Tensor, lr: tuple[int, int]) -> torch.Tensor:
        image = functional.interpolate(image, size=lr, mode=random.choice(MODES))
        kernels = np.zeros((image.shape[0], 21, 21))
        kernels[:, 10, 10] = 1
        for kernel in kernels:
            if random.random() < 0.8:
                size = random.choice(range(7, 22, 2))
                kernel[:] = self.ops.circular_lowpass_kernel(random.uniform(PI / 3, PI), size, pad_to=21)
        return self.tools.filter2D(image.contiguous(), torch.from_numpy(kernels).float())

    @torch.no_grad()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        lr = (batch.shape[2] // 4, batch.shape[3] // 4)
        image = self.usm(batch) if self.usm is not None else batch
        image = self.tools.filter2D(image, self.kernels(len(batch), [0.2, 3]))
        image = self.resize(image, [0.2, 0.7, 0.1], [0.15, 1.5], None)
        image = self.compress(self.noise(image, [1, 30], [0.05, 3]))
        if random.random() < 0.8:
            image = self.tools.filter2D(image.contiguous(), self.kernels(len(batch), [0.2, 1.5]))
        image = self.noise(self.resize(image, [0.3, 0.4, 0.3], [0.3, 1.2], lr), [1, 25], [0.05, 2.5])
        last = random.random() < 0.5
        image = self.compress(self.final(image, lr)) if last else self.final(self.compress(image), lr)
        return torch.clamp((image * 255).round(), 0, 255) / 255


def theirs(sharpen: bool, size: int, batches: int) -> float:
    """CPU-seconds per pair of the reference."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    photo = photograph(size)[:size, :size]
    batch = torch.from_numpy(np.stack([photo, photo[:, ::-1]])).permute(0, 3, 1, 2).contiguous().float() / 255
    pipeline = Reference(sharpen)
    pipeline(batch[:, :, :128, :128].contiguous())
    start = time.process_time()
    for _ in range(batches):
        pipeline(batch)
    return (time.process_time() - start) / (2 * batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="*", default=[256, 512])
    parser.add_argument("--pairs", type=int, default=200, help="pairs of the engine")
    parser.add_argument("--reference", type=int, default=10, help="batches of two of the reference; 0 leaves it out")
    arguments = parser.parse_args()
    for size in arguments.size:
        print(f"HR {size}, scale 4, one thread, OpenCV {cv2.__version__}, torch {torch.__version__}")
        for sharpen in (True, False):
            label = "with USM" if sharpen else "without USM"
            engine = ours(variant(sharpen, context=False), size, arguments.pairs)
            line = f"  {label:12s} engine {1 / engine:7.1f} pairs/CPU-s"
            if arguments.reference:
                reference = theirs(sharpen, size, arguments.reference)
                line += f"   basicsr {1 / reference:6.2f}   ratio {reference / engine:6.1f}x"
            print(line)
        full = ours(variant(True, context=True), size, arguments.pairs)
        print(f"  {'with context':12s} engine {1 / full:7.1f} pairs/CPU-s (the preset as it is)")
        parts = split(variant(True, context=False), size, arguments.pairs)
        for name, (pair, call) in sorted(parts.items(), key=lambda item: -item[1][0]):
            print(f"    {name:20s} {pair:7.3f} ms a pair  {call:7.3f} ms a call")


if __name__ == "__main__":
    main()
