"""The torch engine beside the CPU engine (agreement, by operator) and beside Real-ESRGAN's own torch operators (speed).

    python -m tests.benchmarks.degrade_batched [--device cuda] [--recipes 500] [--size 512] [--batch 32] [--batches 5]

Agreement: recipes of every bundled preset through both engines, PSNR of LR; then every operator by itself, both engines
fed the same input; then the worst pairs, step by step. Speed: the preset real-esrgan, photographs in memory to 8-bit
pairs on the device, recipes drawn before; the reference in the same order on the same device, on whole batches.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from skimage import data

from degrade.batched.canvas import Canvas
from degrade.batched.engine import render_batch
from degrade.batched.operators import is_batched, kind_of, operator_of
from degrade.batched.precision import full_float32
from degrade.batched.usm import sharpen
from degrade.engine import prepare, render
from degrade.errors import DegradeError
from degrade.operators.base import Draw
from degrade.preset import Augment, Crop, Preset
from degrade.presets import load_preset, preset_names
from degrade.recipe import Recipe, sample_recipe
from tests.support import basicsr_reference
from tests.support.basicsr_reference import Kernels, Reference

DIGEST = "ab" * 32


def mirrored(preset: Preset) -> Preset:
    """The preset, without mirroring where albumentations is not installed."""
    if importlib.util.find_spec("albumentations") is None:
        return preset.model_copy(update={"augment": Augment()})
    return preset


def photograph(side: int) -> np.ndarray:
    """A square photograph of at least `side` pixels."""
    side = max(512, side)
    return np.asarray(cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC))


def draw(preset: Preset, photo: np.ndarray, crop: int, hr_size: int) -> Recipe:
    size, scale = (photo.shape[0], photo.shape[1]), preset.scale or 4
    return sample_recipe(preset, seed=7, image=DIGEST, crop=crop, image_size=size, hr_size=hr_size, scale=scale)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """In dB at 255; 100 where equal."""
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return 100.0 if error == 0 else min(100.0, 10 * np.log10(255**2 / error))


def agreement(device: torch.device, count: int, hr_size: int, launch: int | None) -> list[tuple[float, Recipe]]:
    """Print the agreement of LR by preset; returns (PSNR, recipe) of all."""
    photo, found = photograph(512), []
    names = preset_names()
    print(f"\nAgreement with the CPU engine: {count} recipes, HR {hr_size}, PSNR of LR in dB (100: equal)")
    print(f"  {'preset':16s} {'median':>7s} {'1 %':>7s} {'worst':>7s} {'equal':>7s} {'HR worst':>9s}")
    for place, name in enumerate(names):
        preset = mirrored(load_preset(name))
        crops = range(place, count, len(names))
        recipes = [draw(preset, photo, crop, hr_size) for crop in crops]
        mine, sharp = [], []
        for start in range(0, len(recipes), 32):
            part = recipes[start : start + 32]
            hr, lr = render_batch([photo] * len(part), part, device=device, launch=launch)
            for recipe, high, low in zip(part, hr.cpu(), lr.cpu(), strict=True):
                expected = render(photo, recipe)
                mine.append(psnr(low.permute(1, 2, 0).numpy(), expected[1]))
                sharp.append(psnr(high.permute(1, 2, 0).numpy(), expected[0]))
        found += list(zip(mine, recipes, strict=True))
        print(f"  {name:16s} {_quantiles(mine)} {min(sharp):9.1f}")
    print(f"  {'all':16s} {_quantiles([value for value, _ in found])}")
    return found


def _quantiles(values: Sequence[float]) -> str:
    equal = np.mean(np.array(values) == 100.0)
    return f"{np.median(values):7.1f} {np.quantile(values, 0.01):7.1f} {min(values):7.1f} {equal:6.0%} "


@dataclass
class Cases:
    """Inputs of one operator, what the CPU engine made of them, and its seconds."""

    draws: list[Draw] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0


def label(step: Draw) -> str:
    detail = getattr(step, "family", None) or getattr(step, "mode", None)
    gray = " gray" if getattr(step, "gray", False) else ""
    return step.op + (f" {detail}" if detail else "") + gray


def collected(recipes: Sequence[Recipe], photo: np.ndarray) -> dict[str, Cases]:
    """Every step of `recipes` by the CPU engine, by operator."""
    cases: dict[str, Cases] = defaultdict(Cases)
    cv2.setNumThreads(1)
    for recipe in recipes:
        _, state = prepare(photo, recipe)
        for step in recipe.steps:
            case = cases[label(step)]
            case.inputs.append(state.copy())
            start = time.perf_counter()
            state = step.render(state)
            case.seconds += time.perf_counter() - start
            case.draws.append(step)
            case.outputs.append(state.copy())
    return dict(sorted(cases.items()))


def packed(images: Sequence[np.ndarray], device: torch.device) -> Canvas:
    sizes = tuple((image.shape[0], image.shape[1]) for image in images)
    pixels = torch.zeros((len(images), 3, max(h for h, _ in sizes), max(w for _, w in sizes)))
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[0], : image.shape[1]] = torch.from_numpy(image).permute(2, 0, 1)
    return Canvas(pixels.to(device), sizes, tuple(range(len(images))))


def by_operator(recipes: Sequence[Recipe], device: torch.device) -> None:
    """Print what one operator alone adds to the difference, both engines fed what the CPU engine made before it."""
    print("\nOperator by operator, equal inputs, canvases of up to 16 (difference in code values)")
    heads = f"{'calls':>6s} {'PSNR':>6s} {'rms':>9s} {'max':>8s} {'codes moved':>12s} {'CPU ms':>7s} {'torch ms':>8s}"
    print(f"  {'operator':24s} {heads}")
    for name, case in collected(recipes, photograph(512)).items():
        errors, moved, seconds = [], [], 0.0
        operator = operator_of(kind_of(type(case.draws[0])))
        for start in range(0, len(case.draws), 16):
            chosen = slice(start, start + 16)
            canvas = packed(case.inputs[chosen], device)
            with torch.no_grad(), full_float32(device):
                begun = clock(device)
                result = operator(canvas, case.draws[chosen])
                seconds += clock(device) - begun
            for row, expected in enumerate(case.outputs[chosen]):
                height, width = result.sizes[row]
                got = result.pixels[row, :, :height, :width].permute(1, 2, 0).cpu().numpy()
                errors.append((got - expected).ravel())
                moved.append(np.mean(np.rint(np.clip(got, 0, 255)) != np.rint(np.clip(expected, 0, 255))))
        error = np.concatenate(errors).astype(np.float64)
        rms, calls = float(np.sqrt(np.mean(error**2))), len(case.draws)
        decibel = 20 * np.log10(255 / max(rms, 1e-6))
        note = "" if is_batched(type(case.draws[0])) else "  (one by one on the host)"
        print(
            f"  {name:24s} {calls:6d} {decibel:6.1f} {rms:9.2e} {np.abs(error).max():8.4f} {np.mean(moved):12.2e} "
            f"{1e3 * case.seconds / calls:7.2f} {1e3 * seconds / calls:8.2f}{note}"
        )


def sharpening(recipes: Sequence[Recipe], device: torch.device) -> None:
    """Print the same of the unsharp mask, the only step before the operators that computes."""
    photo, errors = photograph(512), []
    for recipe in recipes:
        if recipe.sharpen is None:
            continue
        plain = recipe.model_copy(update={"sharpen": None, "hr": "raw"})
        canvas = packed([prepare(photo, plain)[1]], device)
        with torch.no_grad(), full_float32(device):
            result = sharpen(canvas, recipe.sharpen).pixels[0].permute(1, 2, 0).cpu().numpy()
        errors.append((result - prepare(photo, recipe)[1]).ravel())
    error = np.concatenate(errors).astype(np.float64)
    rms = float(np.sqrt(np.mean(error**2)))
    decibel = 20 * np.log10(255 / max(rms, 1e-6))
    print(f"  {'(unsharp mask)':24s} {len(errors):6d} {decibel:6.1f} {rms:9.2e} {np.abs(error).max():8.4f}")


def worst(found: Sequence[tuple[float, Recipe]], device: torch.device, count: int) -> None:
    """Print where the worst pairs part: rms difference after every step, each engine going on from its own image."""
    photo = photograph(512)
    print("\nThe worst pairs, rms difference in code values after every step")
    for value, recipe in sorted(found, key=lambda item: item[0])[:count]:
        if value == 100.0:
            continue
        _, state = prepare(photo, recipe)
        canvas, parts = packed([state], device), []
        for step in recipe.steps:
            state = step.render(state)
            with torch.no_grad(), full_float32(device):
                canvas = operator_of(kind_of(type(step)))(canvas, [step])
            rms = float(np.sqrt(np.mean((canvas.pixels[0].permute(1, 2, 0).cpu().numpy() - state) ** 2)))
            parts.append(f"{label(step)} {rms:.1e}")
        print(f"  {value:5.1f} dB  {recipe.preset} crop {recipe.crop}: " + ", ".join(parts))


def clock(device: torch.device) -> float:
    """Seconds: of the device's work that was asked for until now, on the CPU of this process (machines are shared)."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def reference(device: torch.device, photos: torch.Tensor, batches: int) -> float:
    """Seconds per batch uint8 [n, h, w, 3] of basicsr's operators, averaged, since a whole batch shares its draws."""
    basicsr_reference.seed(0)
    pipeline = Reference(sharpen=True, device=device)

    def degrade(kernels: Kernels) -> None:
        pipeline(photos.to(device).permute(0, 3, 1, 2).float() / 255, kernels)

    degrade(Kernels.drawn(len(photos)))
    seconds = 0.0
    for _ in range(batches):
        kernels = Kernels.drawn(len(photos))  # not part of the time, since loader workers make them
        start = clock(device)
        degrade(kernels)
        seconds += clock(device) - start
    return seconds / batches


def speed(device: torch.device, size: int, batch: int, batches: int, **options: Any) -> None:
    """Print pairs per second of both on the same area, without context around a crop, and of the preset as it is."""
    preset = mirrored(load_preset("real-esrgan"))
    photo = photograph(size + 128)
    for name, chosen in (
        ("same area as the reference", preset.model_copy(update={"crop": Crop(margin=0, phases=1)})),
        ("the preset as it is", preset),
    ):
        drawn = [[draw(chosen, photo, batch * b + i, size) for i in range(batch)] for b in range(batches + 1)]
        for recipes in drawn:  # to warm up, and to compile for the sizes to come
            render_batch([photo] * batch, recipes, device=device, **options)
        start = clock(device)
        for recipes in drawn[1:]:
            render_batch([photo] * batch, recipes, device=device, **options)
        seconds = (clock(device) - start) / batches
        print(f"  {name:28s} {1e3 * seconds:9.1f} ms a batch  {batch / seconds:8.1f} pairs/s")
        if chosen is preset:
            continue
        try:
            theirs = reference(device, torch.from_numpy(np.stack([photo[:size, :size]] * batch)), batches)
        except (DegradeError, ImportError) as error:
            print(f"  basicsr left out: {error}")
            continue
        print(f"  {'basicsr':28s} {1e3 * theirs:9.1f} ms a batch  {batch / theirs:8.1f} pairs/s")
        print(f"  ratio {theirs / seconds:.1f}x, with parameters of its own for every pair")
    start = time.perf_counter()
    for crop in range(batch):
        draw(preset, photo, crop, size)
    spent = 1e3 * (time.perf_counter() - start)
    print(f"  drawing the recipes of a batch takes {spent:.1f} ms of one core (in loader workers)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--recipes", type=int, default=500, help="of the agreement; 0 leaves it out")
    parser.add_argument("--agreement-size", type=int, default=96, help="HR side of the agreement")
    parser.add_argument("--size", type=int, default=512, help="HR side of the speed")
    parser.add_argument("--batch", type=int, default=None, help="default 32, on the CPU 2")
    parser.add_argument("--batches", type=int, default=5, help="of the speed; 0 leaves it out")
    parser.add_argument("--launch", type=int, default=None, help="pixels that one more group of samples costs")
    parser.add_argument("--fused", action="store_true", help="compile what is made of the most launches")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, {device.type} ({name})")
    if arguments.recipes:
        found = agreement(device, arguments.recipes, arguments.agreement_size, arguments.launch)
        some = [recipe for _, recipe in found][:: max(1, len(found) // 200)]
        by_operator(some, device)
        sharpening(some, device)
        worst(found, device, 6)
    if arguments.batches:
        batch = arguments.batch or (2 if device.type == "cpu" else 32)
        print(f"\nSpeed: real-esrgan, batch {batch}, HR {arguments.size}, scale 4")
        speed(device, arguments.size, batch, arguments.batches, launch=arguments.launch, fused=arguments.fused)


if __name__ == "__main__":
    main()
