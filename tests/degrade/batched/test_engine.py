"""The torch engine gives the CPU engine's pairs, alone or in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torch.utils._python_dispatch import TorchDispatchMode

from degrade.batched.engine import render_batch
from degrade.batched.operators import is_batched
from degrade.engine import context, render
from degrade.errors import DegradeError
from degrade.presets import load_preset, parse_preset, preset_names
from degrade.recipe import DRAWS, Recipe, sample_recipe

IMAGE = "0123456789abcdef" * 4
PHOTO = data.astronaut()
ALL_IN_ONE = 10**12
"""The price of a launch at which all sizes share one canvas, as they nearly do on a GPU."""


def recipe(preset: str, crop: int, hr_size: int = 64) -> Recipe:
    chosen = load_preset(preset)
    size, scale = (PHOTO.shape[0], PHOTO.shape[1]), chosen.scale or 4
    return sample_recipe(chosen, seed=3, image=IMAGE, crop=crop, image_size=size, hr_size=hr_size, scale=scale)


def rendered(recipes: list[Recipe], launch: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    hr, lr = render_batch([PHOTO] * len(recipes), recipes, device="cpu", launch=launch)
    return [(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy()) for a, b in zip(hr, lr, strict=True)]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return 100.0 if error == 0 else float(min(100.0, 10 * np.log10(255**2 / error)))


@pytest.mark.parametrize("launch", [None, ALL_IN_ONE])
def test_pairs_of_every_preset_agree_with_the_cpu_engine(launch):
    """Half of the pairs are equal; the others differ where 1e-3 of a code value decided a rounding before a JPEG."""
    found = []
    for preset in preset_names():
        recipes = [recipe(preset, crop) for crop in range(12)]
        for drawn, (hr, lr) in zip(recipes, rendered(recipes, launch), strict=True):
            expected = render(PHOTO, drawn)
            assert psnr(hr, expected[0]) > 80
            found.append(psnr(lr, expected[1]))
    assert np.median(found) > 80
    assert np.quantile(found, 0.05) > 45
    assert min(found) > 35


def test_a_pair_does_not_depend_on_its_neighbours():
    """Alone, with others, in another order: the same bytes on the CPU, where only equal sizes share a canvas."""
    recipes = [recipe("real-esrgan", crop) for crop in range(8)]
    together, reversed_ = rendered(recipes), rendered(recipes[::-1])[::-1]
    shared = rendered(recipes, ALL_IN_ONE)
    for row, drawn in enumerate(recipes):
        (hr, lr), (alone_hr, alone_lr) = together[row], rendered([drawn])[0]
        assert np.array_equal(hr, alone_hr)
        assert np.array_equal(lr, alone_lr)
        assert np.array_equal(lr, reversed_[row][1])
        assert psnr(shared[row][1], lr) > 40  # float32 sums of another length


def test_nothing_waits_for_the_device():
    """No value comes back to the host between the upload and the pair: every such read would stall a GPU."""

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function.__name__.partition(".")[0] in ("_local_scalar_dense", "nonzero", "masked_select")
            return function(*args, **(kwargs or {}))

    fours = [preset for preset in preset_names() if load_preset(preset).scale in (None, 4)]
    recipes = [recipe(preset, crop) for crop, preset in enumerate(fours)]
    with Reads() as reads:
        render_batch([PHOTO] * len(recipes), recipes, device="cpu", launch=ALL_IN_ONE)
        assert reads.count == 0
        torch.ones(1).item()
        assert reads.count == 1


def test_contexts_give_the_pairs_of_their_photographs():
    recipes = [recipe("bicubic", crop) for crop in range(3)]
    contexts = torch.from_numpy(np.stack([context(PHOTO, drawn) for drawn in recipes]))
    before = contexts.clone()
    hr, lr = render_batch(contexts, recipes, device="cpu")
    for row, (expected_hr, expected_lr) in enumerate(rendered(recipes)):
        assert np.array_equal(hr[row].permute(1, 2, 0).numpy(), expected_hr)
        assert np.array_equal(lr[row].permute(1, 2, 0).numpy(), expected_lr)
    assert torch.equal(contexts, before)


def test_units_are_the_same_codes_over_255():
    recipes = [recipe("resshift", crop) for crop in range(2)]
    hr, lr = render_batch([PHOTO] * 2, recipes, device="cpu")
    unit_hr, unit_lr = render_batch([PHOTO] * 2, recipes, device="cpu", unit=True)
    assert unit_hr.dtype == unit_lr.dtype == torch.float32
    assert torch.equal(torch.round(unit_hr * 255).to(torch.uint8), hr)
    assert torch.equal(torch.round(unit_lr * 255).to(torch.uint8), lr)


def test_bundled_presets_need_nothing_from_the_host():
    """Adding an operator without a batched version to a preset is a decision: it shows here."""
    slow = {
        preset: sorted({op.op for op in load_preset(preset).operators() if not is_batched(DRAWS[op.op])})
        for preset in preset_names()
    }
    assert {preset: ops for preset, ops in slow.items() if ops} == {}
    assert {op for op, drawn in DRAWS.items() if not is_batched(drawn)} == {"webp", "isp", "halo"}


MIXED = """
preset: 1
name: mixed
augment: {hflip: 0.5, transpose: 0.5}
sharpen: {weight: 0.5, radius: 50, threshold: 10}
steps:
  - op: sequence
    id: all
    order: shuffled
    steps:
      - {op: webp, id: webp, p: 0.7, quality: [30, 90]}
      - {op: jpeg, id: jpeg, p: 0.7, quality: [30, 90]}
      - {op: gaussian, id: gaussian, p: 0.7, sigma: [1, 10]}
      - {op: sinc, id: sinc, p: 0.7, sizes: [7, 21]}
  - {op: imresize, id: last}
"""


def test_operators_without_a_batched_version_are_rendered_by_the_cpu_engines_code():
    preset = parse_preset(MIXED, "mixed")
    recipes = [
        sample_recipe(preset, seed=3, image=IMAGE, crop=crop, image_size=(512, 512), hr_size=64, scale=4)
        for crop in range(12)
    ]
    found = [psnr(lr, render(PHOTO, drawn)[1]) for drawn, (_, lr) in zip(recipes, rendered(recipes), strict=True)]
    assert np.median(found) > 55


def test_recipes_of_several_presets_go_in_one_batch():
    recipes = [recipe(preset, 1) for preset in ("bicubic", "real-esrgan", "resshift", "bsrgan")]
    for drawn, (hr, lr) in zip(recipes, rendered(recipes, ALL_IN_ONE), strict=True):
        expected = render(PHOTO, drawn)
        assert psnr(hr, expected[0]) > 80
        assert psnr(lr, expected[1]) > 40


def test_batches_that_do_not_fit_are_refused():
    one = recipe("real-esrgan", 0)
    with pytest.raises(DegradeError, match="at least one recipe"):
        render_batch([], [], device="cpu")
    with pytest.raises(DegradeError, match=r"one size, got HR of \[64, 64\] .* and HR of \[128, 128\]"):
        render_batch([PHOTO] * 2, [one, recipe("real-esrgan", 0, hr_size=128)], device="cpu")
    with pytest.raises(DegradeError, match="2 images and 1 recipes"):
        render_batch([PHOTO] * 2, [one], device="cpu")
    with pytest.raises(DegradeError, match="drawn for an image of 512 x 512 and got 500 x 512"):
        render_batch([PHOTO[:, :500]], [one], device="cpu")
    with pytest.raises(DegradeError, match="the contexts are 64 x 64 and a recipe has"):
        render_batch(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), [one], device="cpu")
    with pytest.raises(DegradeError, match="expected contexts, uint8"):
        render_batch(torch.zeros(1, 3, 64, 64), [one], device="cpu")
