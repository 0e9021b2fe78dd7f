"""Recipes: frozen, replayable and complete. What they are drawn from is in test_distributions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade.engine import render
from degrade.errors import DegradeError
from degrade.presets import load_preset, parse_preset, preset_names
from degrade.recipe import Recipe, sample_recipe

IMAGE = "0123456789abcdef" * 4
PHOTO = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)
GOLDEN = Path(__file__).parent / "golden"


def draw(preset: str = "real-esrgan", crop: int = 0, seed: int = 7) -> Recipe:
    chosen = load_preset(preset)
    return sample_recipe(
        chosen, seed=seed, image=IMAGE, crop=crop, image_size=(720, 1000), hr_size=256, scale=chosen.scale or 4
    )


@pytest.mark.parametrize("preset", preset_names())
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
    own = load_preset(preset).scale
    scale, hr_size = (scale, hr_size) if own is None else (own, hr_size // scale * own)
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


@pytest.mark.parametrize("preset", preset_names())
def test_columns_have_the_declared_types(preset):
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    declared = load_preset(preset).columns()
    seen = set()
    for crop in range(600):
        for name, value in draw(preset, crop).columns().items():
            if value is not None:
                assert type(value) is kinds[declared[name]], name
                seen.add(name)
    assert seen == set(declared) - ({"blur1_beta"} if preset == "imagenet-test" else set())  # Gaussians alone


def test_crops_have_their_context_and_every_jpeg_phase():
    recipes = [draw(crop=crop) for crop in range(1500)]
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


def test_a_preset_that_is_made_for_one_scale_says_so():
    with pytest.raises(DegradeError, match="'bsrgan' is made for scale 4 and got 2; say scale: 4"):
        sample_recipe(load_preset("bsrgan"), seed=1, image=IMAGE, crop=0, image_size=(99, 99), hr_size=64, scale=2)


def test_a_preset_that_does_not_end_at_the_lr_size_is_refused():
    text = "preset: 1\nname: open\nsteps: [{op: jpeg, id: j, quality: [40, 60]}]"
    preset = parse_preset(text, "open")
    with pytest.raises(
        DegradeError, match="end at the HR size, and at scale 4 the LR image is smaller; end with an im"
    ):
        sample_recipe(preset, seed=1, image=IMAGE, crop=0, image_size=(80, 80), hr_size=64, scale=4)
    recipe = sample_recipe(preset, seed=1, image=IMAGE, crop=0, image_size=(80, 80), hr_size=64, scale=1)
    assert recipe.lr_shape == recipe.hr_shape == (64, 64)
    with pytest.raises(DegradeError, match="at scale 2 the LR image is smaller"):
        parse_preset(f"{text}\nscale: 2", "open")


def paths(value: object, start: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where a value can be changed: every place in a tree of dicts and lists but its root."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, part in inside for path in ([*start, key], *paths(part, (*start, key)))]


def changed(value: dict[str, Any], path: Sequence[str | int], to: object) -> dict[str, Any]:
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return copy


ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.sampled_from([5000, 1 << 21, 1 << 31, 10**30, 1e-30, 1e9, 1e300]),
    st.floats(-2, 300), st.sampled_from(["", "e", "t", "x", "area", "imresize"]), st.sampled_from([[], {}, [1, 2]]),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(["real-esrgan", "bsrgan", "imagenet-test", "resshift"]), st.integers(0, 5), st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_recipe_that_was_tampered_with_is_refused_or_rendered(preset, crop, data):
    """Whatever a record says, who replays it gets an image of the stated size or an error that names the cause."""
    drawn = sample_recipe(load_preset(preset), seed=3, image=IMAGE, crop=crop, image_size=(96, 80), hr_size=32, scale=4)
    value = json.loads(drawn.to_json())
    path = data.draw(st.sampled_from(paths(value)))
    text = json.dumps(changed(value, path, data.draw(ODD_VALUES)))
    try:
        recipe = Recipe.from_json(text)
        hr, lr = render(PHOTO, recipe)
    except DegradeError:
        return
    assert (hr.shape, lr.shape) == ((*recipe.hr_shape, 3), (*recipe.lr_shape, 3))
    assert set(recipe.columns())


@pytest.mark.parametrize(
    ("preset", "op", "field", "to", "message"),
    [
        ("real-esrgan", "sinc", "size", 12, "a kernel size is odd, got 12"),
        ("real-esrgan", "resize", "height", 1 << 21, "less than or equal to 1048576"),
        ("real-esrgan", "resize", "width", 1 << 20, r"what resize\d makes is \d+ x 1048576, over 4 times the sides"),
        ("bsrgan", "decimate", "stride", 3, "a stride of 3 makes"),
    ],
)
def test_a_step_that_cannot_be_is_refused(preset, op, field, to, message):
    def holder(crop: int) -> tuple[dict[str, Any], int] | None:
        value = json.loads(draw(preset, crop).to_json())
        return next(((value, at) for at, step in enumerate(value["steps"]) if step["op"] == op), None)

    value, at = next(found for found in map(holder, range(99)) if found)
    with pytest.raises(DegradeError, match=message):
        Recipe.from_json(json.dumps(changed(value, ["steps", at, field], to)))


def test_damaged_and_newer_recipes_are_refused():
    value = json.loads(draw().to_json())
    for change, message in [
        ({"recipe": 2}, "newer Sharpline"),
        ({"inner": [3, 0]}, "multiples of the scale"),
        ({"box": [700, 0, 256, 256]}, "not inside the source"),
        ({"surprise": 1}, "surprise"),
        ({"steps": []}, "the steps end at"),
        ({"skipped": [{"id": "x", "op": "gauss"}]}, "'gauss' is no operator; the operators are blur, "),
        ({"box": [0, 0, 0, 256]}, "greater than or equal to 1"),
        ({"hr_size": [0, 0]}, "greater than or equal to 1"),
        ({"rescaled": [1 << 20, 1 << 12]}, "the context is 1048576 x 4096, over 4 times the sides of"),
    ]:
        with pytest.raises(DegradeError, match=message):
            Recipe.from_json(json.dumps({**value, **change}))
    for text in ("{", "[" * 100_000):
        with pytest.raises(DegradeError, match="not a recipe"):
            Recipe.from_json(text)
