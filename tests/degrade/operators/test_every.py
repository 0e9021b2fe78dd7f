"""What holds for every operator there is: any size, finite, in range, the same bytes twice, and whole columns."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade.engine import render
from degrade.operators.base import Place
from degrade.presets import parse_preset
from degrade.recipe import DRAWS, Recipe, sample_recipe

EVERY = parse_preset(
    """
preset: 1
name: every
augment: {hflip: 0.5, vflip: 0.5, transpose: 0.5}
sharpen: {weight: 0.5, radius: 10, threshold: 10}
steps:
  - op: sequence
    id: body
    order: shuffled
    steps:
      - {op: blur, id: blur, p: 0.5, sizes: [3, 21], sigma: [0.2, 3], sinc: 0.1,
         families: {iso: 1, aniso: 1, generalized_iso: 1, generalized_aniso: 1, plateau_iso: 1, plateau_aniso: 1}}
      - {op: eigen_blur, id: eigen_blur, p: 0.5, sizes: [7, 25], sigma: [0, 2.8], eigenvalues: [0, 8]}
      - {op: sinc, id: sinc, p: 0.5, sizes: [7, 21]}
      - {op: defocus, id: defocus, p: 0.7, radius: [0.2, 9], softness: [0, 1]}
      - {op: motion, id: motion, p: 0.7, length: [0, 20], asymmetry: [-1, 1]}
      - {op: gaussian, id: gaussian, p: 0.5, sigma: [1, 30], gray: 0.5}
      - {op: poisson, id: poisson, p: 0.5, scale: [0.05, 3], gray: 0.5}
      - {op: correlated, id: correlated, p: 0.5, sigma: 25}
      - {op: isp, id: isp, p: 0.7, mosaic: 0.7}
      - {op: halo, id: halo, p: 0.7, amount: [0, 3], sigma: [0.5, 4], threshold: [0, 10], overshoot: [0, 40]}
      - {op: jpeg, id: jpeg, p: 0.5, quality: [1, 100]}
      - {op: webp, id: webp, p: 0.7, quality: [1, 100]}
      - {op: shrink, id: shrink, p: 0.3, divisor: [1, 3], modes: {antialiased: 1, area: 1, linear: 1, cubic: 1}}
      - {op: decimate, id: decimate, p: 0.3, stride: 2, sigma: [0.1, 1.2]}
      - {op: resize, id: resize, p: 0.3, of: input, up: 1, down: 1, factor: [0.5, 1.5],
         modes: {area: 1, linear: 1, cubic: 1}}
  - {op: imresize, id: imresize}
""",
    "every",
)
OVERSHOOTS = {"sinc", "blur", "resize", "shrink", "imresize"}
"""Have negative weights, so they may leave 0..255; whatever comes next takes that."""


def draw(size: tuple[int, int], scale: int = 1, seed: int = 0) -> Recipe:
    return sample_recipe(EVERY, seed=seed, image="ab" * 32, crop=0, image_size=size, hr_size=None, scale=scale)


def test_the_preset_has_every_operator():
    assert {op.op for op in EVERY.operators()} == set(DRAWS)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 33), st.integers(1, 33)),
    st.integers(1, 4),
    st.integers(0, 2**40),
    st.sampled_from(["noise", "black", "white"]),
)
def test_any_recipe_renders_at_any_size_twice_the_same_whatever_the_threads(size, scale, seed, kind):
    size = (max(size[0], scale), max(size[1], scale))
    photo = np.full((*size, 3), {"white": 255}.get(kind, 0), np.uint8)
    if kind == "noise":
        photo[:] = np.random.default_rng(seed).integers(0, 256, photo.shape)
    recipe = draw(size, scale, seed)
    first = render(photo, recipe)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        again = render(photo, Recipe.from_json(recipe.to_json()))
    finally:
        cv2.setNumThreads(before)
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert first[1].shape == (*recipe.lr_shape, 3)
    assert set(recipe.columns()) == set(EVERY.columns())


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 21), st.integers(1, 21)), st.integers(0, 2**40))
def test_a_step_gives_finite_code_values_of_the_size_that_it_says(size, seed):
    """From an image in 0..255 every step stays there, but for those whose weights may be negative."""
    recipe = draw(size, 1, seed)
    size = recipe.context
    for step in recipe.steps:
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.float32)
        result, size = step.render(image), step.output_size(size)
        assert (result.dtype, result.shape) == (np.float32, (*size, 3))
        assert np.isfinite(result).all()
        if step.op not in OVERSHOOTS:
            assert -0.05 <= result.min() <= result.max() <= 255.05


@pytest.mark.parametrize("op", ["defocus", "motion", "isp", "halo", "webp"])
def test_an_operator_changes_the_image_and_draws_otherwise_for_the_next_crop(op):
    operator = next(node for node in EVERY.operators() if node.op == op)
    photo = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.float32)
    results = []
    for crop in range(2):
        place = Place(1, "cd" * 32, crop, (24, 24), (6, 6))
        results.append(operator.draw(place.stream(op), place).render(photo.copy()))
        assert np.abs(results[-1] - photo).max() > 1
    assert not np.array_equal(*results)
