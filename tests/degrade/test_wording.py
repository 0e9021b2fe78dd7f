"""Recipes in words, and what a preset states of each column: both hold for every preset there is."""

from __future__ import annotations

import hashlib

import pytest

from degrade.operators.base import Draw
from degrade.preset import Preset
from degrade.presets import load_preset, parse_preset, preset_names
from degrade.ranges import stated_ranges
from degrade.recipe import DRAWS, Recipe, sample_recipe
from degrade.wording import brief, lines, preset_summary, values

OTHERS = """
name: others
steps:
  - {op: motion, id: motion, length: [1, 12], asymmetry: [-0.5, 0.5]}
  - {op: defocus, id: defocus, p: 0.7, radius: [0.5, 4], softness: [0, 1]}
  - {op: isp, id: isp, read: [0.001, 0.01], mosaic: 0.5}
  - {op: halo, id: halo, amount: [0, 2], sigma: [0.5, 2], threshold: [0, 9], overshoot: [5, 40]}
  - {op: webp, id: webp, quality: [20, 90]}
  - {op: imresize, id: last}
"""
"""The operators that no bundled preset uses."""

NAMES = (*preset_names(), "others")


def preset_called(name: str) -> Preset:
    return parse_preset(OTHERS, name) if name == "others" else load_preset(name)


def recipes(name: str, count: int) -> list[Recipe]:
    preset = preset_called(name)
    return [
        sample_recipe(
            preset,
            seed=1,
            image=hashlib.sha256(f"{i}".encode()).hexdigest(),
            crop=i,
            image_size=(700, 1100),
            hr_size=128,
            scale=preset.scale or 4,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_everything_drawn_is_as_stated(name: str) -> None:
    stated = stated_ranges(preset_called(name))
    assert stated or name == "bicubic"
    drawn: dict[str, list[float]] = {}
    for recipe in recipes(name, 200):
        for column, value in recipe.columns().items():
            if value is None or column not in stated:
                continue
            said = stated[column]
            if said.low is not None and said.high is not None:
                assert said.low <= float(value) <= said.high, column
                drawn.setdefault(column, []).append(float(value))
            elif said.shares:
                text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
                assert text in said.shares, column
    for column, found in drawn.items():
        said = stated[column]
        if len(found) >= 60:  # a stated range that is far too wide would hold everything
            assert max(found) - min(found) >= 0.6 * ((said.high or 0) - (said.low or 0)), column


@pytest.mark.parametrize("name", NAMES)
def test_shares_sum_to_one(name: str) -> None:
    for column, said in stated_ranges(preset_called(name)).items():
        assert not said.shares or sum(said.shares.values()) == pytest.approx(1), column


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_recipe_in_words_names_every_step_and_value(name: str) -> None:
    for recipe in recipes(name, 10):
        text = list(lines(recipe))
        steps = [line for line in text if line.startswith("step")]
        assert len(steps) == len(recipe.steps)
        for step, line in zip(recipe.steps, steps, strict=True):
            assert all(f"{field} {value}" in line for field, value in values(step))
            assert 0 < len(brief(step)) <= 120
        assert any(recipe.image in line for line in text)


def draw(op: str, **fields: object) -> Draw:
    return DRAWS[op].model_validate({"id": op, **fields})


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (draw("jpeg", quality=57), "jpeg 57"),
        (draw("resize", direction="down", factor=0.6123, mode="area", height=9, width=12), "resize ×0.612 area"),
        (draw("gaussian", gray=True, sigma=12.345, noise_key="0" * 32), "gaussian gray 12.3"),
        (draw("gaussian", gray=False, sigma=2.0, noise_key="0" * 32), "gaussian 2"),
        (draw("imresize", height=9, width=12), "imresize 12×9"),
        (draw("blur", family="plateau_iso", size=13, sigma_x=0.5, beta=1.25), "blur plateau iso 13 σ 0.5 β 1.25"),
    ],
)
def test_captions(step: Draw, said: str) -> None:
    assert brief(step) == said


def test_every_operator_there_is_is_in_some_preset_here() -> None:
    assert {op.op for name in NAMES for op in preset_called(name).operators()} == set(DRAWS)


def test_units() -> None:
    step = draw("blur", family="aniso", size=13, sigma_x=0.5, sigma_y=2.0, theta=0.7853981633974483)
    assert dict(values(step)) == {
        "family": "aniso", "size": "13 taps", "sigma_x": "0.5 px", "sigma_y": "2 px", "theta": "0.785 rad (45°)",
    }  # fmt: skip


@pytest.mark.parametrize("name", preset_names())
def test_every_bundled_preset_says_what_it_is(name: str) -> None:
    assert len(preset_summary(name)) > 20
