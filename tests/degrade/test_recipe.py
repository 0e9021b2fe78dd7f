"""Recipes: frozen, replayable, complete, and drawn from the distributions that the preset states."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from degrade.errors import DegradeError
from degrade.presets import load_preset, parse_preset, preset_names
from degrade.recipe import Recipe, sample_recipe

IMAGE = "0123456789abcdef" * 4
GOLDEN = Path(__file__).parent / "golden"


def draw(preset: str = "real-esrgan", crop: int = 0, seed: int = 7) -> Recipe:
    return sample_recipe(
        load_preset(preset), seed=seed, image=IMAGE, crop=crop, image_size=(720, 1000), hr_size=256, scale=4
    )


@lru_cache(maxsize=4)
def columns(preset: str, count: int = 4000) -> list[dict]:
    return [draw(preset, crop).columns() for crop in range(count)]


def drawn(name: str, preset: str = "real-esrgan", **where: object) -> np.ndarray:
    rows = (row for row in columns(preset) if all(row[key] == value for key, value in where.items()))
    return np.array([row[name] for row in rows if row[name] is not None])


@pytest.mark.parametrize("preset", ["real-esrgan", "resshift", "bicubic"])
def test_recipes_are_frozen(preset):
    """The bytes of a recipe are a format: shards written today are replayed in years. Never regenerate these files."""
    golden = (GOLDEN / f"{preset}.jsonl").read_text().splitlines()
    assert [draw(preset, crop).to_json() for crop in range(4)] == golden


def test_recipes_are_the_same_in_another_process_with_another_hash_seed():
    code = (
        "from degrade.presets import load_preset; from degrade.recipe import sample_recipe\n"
        f"print(sample_recipe(load_preset('real-esrgan'), seed=7, image={IMAGE!r}, crop=2, image_size=(720, 1000),"
        " hr_size=256, scale=4).to_json())"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root)}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == draw(crop=2).to_json()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(preset_names()),
    st.integers(0, 2**63 - 1),
    st.integers(0, 10_000),
    st.sampled_from([(1, 48), (2, 64), (3, 96), (4, 128)]),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_any_recipe_survives_json_and_fits_its_image(preset, seed, crop, scales, extra):
    scale, hr_size = scales
    size = (hr_size + extra[0], hr_size + extra[1])
    recipe = sample_recipe(
        load_preset(preset), seed=seed, image=IMAGE, crop=crop, image_size=size, hr_size=hr_size, scale=scale
    )
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(recipe.to_json()).to_json() == recipe.to_json()
    y, x, height, width = recipe.box
    assert 0 <= y <= y + height <= size[0]
    assert 0 <= x <= x + width <= size[1]
    assert set(recipe.columns()) == set(load_preset(preset).columns())


def test_an_operator_draws_the_same_whatever_the_others_do():
    before = draw(crop=3)
    preset = load_preset("real-esrgan")
    value = preset.model_dump(mode="json")
    value["steps"][0]["sigma"] = [1.0, 2.0]
    after = sample_recipe(
        type(preset).model_validate(value), seed=7, image=IMAGE, crop=3, image_size=(720, 1000), hr_size=256, scale=4
    )
    assert after.steps[0] != before.steps[0]
    assert after.steps[1:] == before.steps[1:]


def test_columns_have_the_declared_types():
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    declared = load_preset("real-esrgan").columns()
    seen = set()
    for row in columns("real-esrgan")[:300]:
        for name, value in row.items():
            if value is not None:
                assert type(value) is kinds[declared[name]], name
                seen.add(name)
    assert seen == set(declared)


CONTINUOUS = [
    ("blur1_sigma_x", 0.2, 3.0, {}),
    ("blur1_sigma_y", 0.2, 3.0, {}),
    ("blur1_theta", -math.pi, math.pi, {}),
    ("blur1_omega", math.pi / 3, math.pi, {"blur1_size": 9}),
    ("blur2_sigma_x", 0.2, 1.5, {}),
    ("resize1_factor", 0.15, 1.0, {"resize1_direction": "down"}),
    ("resize1_factor", 1.0, 1.5, {"resize1_direction": "up"}),
    ("resize2_factor", 0.3, 1.0, {"resize2_direction": "down"}),
    ("resize2_factor", 1.0, 1.2, {"resize2_direction": "up"}),
    ("gaussian1_sigma", 1.0, 30.0, {}),
    ("gaussian2_sigma", 1.0, 25.0, {}),
    ("poisson1_scale", 0.05, 3.0, {}),
    ("poisson2_scale", 0.05, 2.5, {}),
    ("sinc3_omega", math.pi / 3, math.pi, {}),
]


@pytest.mark.parametrize(("name", "low", "high", "where"), CONTINUOUS)
def test_ranges_are_covered_uniformly(name, low, high, where):
    values = drawn(name, **where)
    assert low <= values.min() <= values.max() <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001


def test_the_uniformity_test_would_see_a_wrong_range():
    values = drawn("gaussian1_sigma")
    assert stats.kstest(values, stats.uniform(1.0, 26.0).cdf).pvalue < 1e-6  # as if the range were [1, 27]
    assert stats.kstest(drawn("blur1_sigma_x"), stats.uniform(0.2, 2.5).cdf).pvalue < 1e-6


DISCRETE = [
    ("blur1_size", dict.fromkeys(range(7, 22, 2), 1)),
    ("sinc3_size", dict.fromkeys(range(7, 22, 2), 1)),
    (
        "blur1_family",
        {
            "iso": 0.9 * 0.45,
            "aniso": 0.9 * 0.25,
            "generalized_iso": 0.9 * 0.12,
            "generalized_aniso": 0.9 * 0.03,
            "plateau_iso": 0.9 * 0.12,
            "plateau_aniso": 0.9 * 0.03,
            "sinc": 0.1,
        },
    ),
    ("resize1_direction", {"up": 0.2, "down": 0.7, "keep": 0.1}),
    ("resize2_direction", {"up": 0.3, "down": 0.4, "keep": 0.3}),
    ("resize1_mode", {"area": 1, "linear": 1, "cubic": 1}),
    ("resize3_mode", {"area": 1, "linear": 1, "cubic": 1}),
    ("noise1", {"gaussian": 1, "poisson": 1}),
    ("noise2", {"gaussian": 1, "poisson": 1}),
    ("gaussian1_gray", {True: 0.4, False: 0.6}),
    ("poisson2_gray", {True: 0.4, False: 0.6}),
    ("blur2_applied", {True: 0.8, False: 0.2}),
    ("sinc3_applied", {True: 0.8, False: 0.2}),
    ("final", {"jpeg_first": 1, "jpeg_last": 1}),
    ("symmetry", {"e": 1, "h": 1}),
    ("jpeg1_quality", dict.fromkeys(range(30, 96), 1)),
    ("jpeg2_quality", dict.fromkeys(range(30, 96), 1)),
]


@pytest.mark.parametrize(("name", "weights"), DISCRETE)
def test_choices_follow_their_weights(name, weights):
    values = drawn(name).tolist()
    assert set(values) == set(weights)
    counts = np.array([values.count(value) for value in weights])
    expected = np.array(list(weights.values())) / sum(weights.values()) * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_betas_are_below_and_above_one_half_the_time_each():
    generalized = np.concatenate([drawn("blur1_beta", blur1_family=f"generalized_{kind}") for kind in ("iso", "aniso")])
    assert stats.binomtest(int((generalized < 1).sum()), generalized.size, 0.5).pvalue > 0.01
    assert stats.kstest(generalized[generalized < 1], stats.uniform(0.5, 0.5).cdf).pvalue > 0.01
    plateau = drawn("blur1_beta", blur1_family="plateau_iso")
    assert stats.binomtest(int((plateau == 1.0).sum()), plateau.size, 0.5).pvalue > 0.01
    assert plateau.max() <= 2.0


def test_resshift_applies_the_second_order_half_the_time():
    orders = [row["second_order"] for row in columns("resshift")]
    assert stats.binomtest(sum(order is not None for order in orders), len(orders), 0.5).pvalue > 0.01
    assert {order for order in orders if order} == {"blur2,resize2,noise2"}


def test_crops_cover_the_photograph_and_every_jpeg_phase():
    recipes = [draw(crop=crop) for crop in range(1500)]
    tops = [recipe.box[0] + recipe.inner[0] for recipe in recipes]
    assert stats.kstest(np.array(tops) + 0.5, stats.uniform(0, 720 - 256 + 1).cdf).pvalue > 0.01
    phases = {recipe.inner[0] // 4 % 8 for recipe in recipes}
    assert phases == set(range(8))
    inside = [recipe for recipe in recipes if 100 < recipe.box[0] < 250 and 100 < recipe.box[1] < 500]
    assert min(min(recipe.inner) for recipe in inside) >= 16


def test_a_shuffled_preset_records_its_order():
    text = """
preset: 1
name: shuffled
steps:
  - op: sequence
    id: body
    order: shuffled
    steps:
      - {op: jpeg, id: j, quality: [40, 60]}
      - {op: gaussian, id: g, sigma: [1, 5]}
      - {op: imresize, id: r}
"""
    preset = parse_preset(text, "shuffled")
    recipes = [
        sample_recipe(preset, seed=1, image=IMAGE, crop=crop, image_size=(80, 80), hr_size=64, scale=4)
        for crop in range(60)
    ]
    assert len({recipe.columns()["body"] for recipe in recipes}) == 6
    assert all(tuple(step.id for step in recipe.steps) == recipe.sequences["body"] for recipe in recipes)


def test_a_whole_photograph_is_one_pair():
    arguments = {"seed": 1, "image": IMAGE, "crop": 0, "scale": 4, "hr_size": None}
    recipe = sample_recipe(load_preset("real-esrgan"), image_size=(101, 83), **arguments)
    assert (recipe.hr_shape, recipe.lr_shape, recipe.box) == ((100, 80), (25, 20), (0, 0, 100, 80))
    assert Recipe.from_json(recipe.to_json()) == recipe
    with pytest.raises(DegradeError, match=r"crop\.mode: native"):
        sample_recipe(load_preset("resshift"), image_size=(101, 83), **arguments)
    with pytest.raises(DegradeError, match="smaller than the scale 4"):
        sample_recipe(load_preset("real-esrgan"), image_size=(101, 3), **arguments)


def test_too_small_images_and_odd_sizes_are_refused_with_the_numbers():
    preset = load_preset("real-esrgan")
    arguments = {"seed": 1, "image": IMAGE, "crop": 0, "scale": 4}
    exact = sample_recipe(preset, image_size=(64, 64), hr_size=64, **arguments)
    assert (exact.box, exact.inner) == ((0, 0, 64, 64), (0, 0))
    with pytest.raises(DegradeError, match="is 500 x 63 and an HR crop takes 64 x 64"):
        sample_recipe(preset, image_size=(63, 500), hr_size=64, **arguments)
    with pytest.raises(DegradeError, match="multiple of the scale 4, got 66"):
        sample_recipe(preset, image_size=(500, 500), hr_size=66, **arguments)


def test_a_preset_that_does_not_end_at_the_lr_size_is_refused():
    preset = parse_preset("preset: 1\nname: open\nsteps: [{op: jpeg, id: j, quality: [40, 60]}]", "open")
    with pytest.raises(DegradeError, match="ends with a resize to the LR size"):
        sample_recipe(preset, seed=1, image=IMAGE, crop=0, image_size=(80, 80), hr_size=64, scale=4)


def test_damaged_and_newer_recipes_are_refused():
    value = json.loads(draw().to_json())
    for change, message in [
        ({"recipe": 2}, "newer Sharpline"),
        ({"inner": [3, 0]}, "multiples of the scale"),
        ({"box": [700, 0, 256, 256]}, "not inside the source"),
        ({"surprise": 1}, "surprise"),
        ({"steps": []}, "the steps end at"),
    ]:
        with pytest.raises(DegradeError, match=message):
            Recipe.from_json(json.dumps({**value, **change}))
    with pytest.raises(DegradeError, match="not a recipe"):
        Recipe.from_json("{")
