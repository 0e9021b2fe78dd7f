"""``augment.zoom``: HR crops at several scales of one photograph, never enlarged beyond what was asked for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage import data

from degrade.augment import symmetry
from degrade.engine import render
from degrade.errors import DegradeError
from degrade.presets import parse_preset
from degrade.recipe import Recipe, sample_recipe

PHOTO = data.astronaut()[:400]


def recipe(zoom: str, crop: int = 0, size: tuple[int, int] = (400, 512), hr_size: int | None = 96, scale: int = 4):
    text = f"""
preset: 1
name: zoomed
augment: {{hflip: 0.5, vflip: 0.5, transpose: 0.5, zoom: {zoom}}}
steps: [{{op: imresize, id: r}}]
"""
    preset = parse_preset(text, "zoomed")
    return sample_recipe(preset, seed=3, image="ab" * 32, crop=crop, image_size=size, hr_size=hr_size, scale=scale)


def zooms(recipe: Recipe) -> tuple[float, float]:
    """How much larger than its native pixels each axis is shown."""
    rows, columns = recipe.rescaled or recipe.box[2:]
    return rows / recipe.box[2], columns / recipe.box[3]


def test_the_zoom_is_uniform_over_its_range_and_the_same_along_both_axes():
    shown = np.array([zooms(recipe("[0.4, 1.2]", crop)) for crop in range(600)])
    assert np.abs(shown[:, 0] - shown[:, 1]).max() < 0.03
    assert stats.kstest(shown.mean(axis=1), stats.uniform(0.4, 0.8).cdf).pvalue > 0.001
    assert stats.kstest(shown.mean(axis=1), stats.uniform(0.3, 0.9).cdf).pvalue < 1e-4  # a range 12 % wider is seen


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 1), (1, 16), (2, 32), (3, 48), (4, 64)]),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
    st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)).map(sorted),
    st.integers(0, 1000),
)
def test_any_zoom_fits_its_photograph_and_is_never_beyond_the_range(scales, extra, limits, crop):
    """A photograph that has room for the range keeps to it; a smaller one is shrunk as far as it fits."""
    scale, hr_size = scales
    size = hr_size + extra[0], hr_size + extra[1]
    drawn = recipe(str(limits), crop, size, hr_size, scale)
    highest = max(limits[1], hr_size / min(size))
    assert max(zooms(drawn)) <= highest + 1e-9
    rows, columns = drawn.rescaled or drawn.box[2:]
    native = drawn.box[2] / rows, drawn.box[3] / columns  # whole pixels apart: two of the box, one of the photograph
    assert abs(native[0] - native[1]) <= (2 + 2 * max(native)) / min(rows, columns)
    assert Recipe.from_json(drawn.to_json()) == drawn
    hr, lr = render(np.random.default_rng(crop).integers(0, 256, (*size, 3)).astype(np.uint8), drawn)
    assert hr.shape == (hr_size, hr_size, 3)
    assert lr.shape == (hr_size // scale, hr_size // scale, 3)


def test_zoomed_crops_cover_the_photograph():
    drawn = [recipe("[0.5, 0.5]", crop) for crop in range(600)]
    transposing = ("t", "r90", "r270", "hvt")
    upright = [one for one in drawn if one.symmetry not in (*transposing, "v", "r180")]
    tops = [one.box[0] + 2 * one.inner[0] for one in upright]  # of 400 rows an HR crop takes 192
    assert len(tops) > 100
    assert stats.kstest(tops, stats.uniform(0, 208).cdf).pvalue > 0.001
    assert stats.kstest(tops, stats.uniform(0, 270).cdf).pvalue < 1e-4


def test_a_photograph_that_is_just_large_enough_is_not_zoomed():
    assert recipe("[0.3, 0.6]", size=(96, 96)).rescaled is None
    assert recipe("[1, 1]").rescaled is None


def test_hr_and_lr_show_the_place_that_the_box_says():
    """HR is the box area-resized and turned; the up-scaled LR matches it and no shifted one."""
    for crop in range(12):
        drawn = recipe("[0.3, 0.8]", crop)
        hr, lr = render(PHOTO, drawn)
        y, x, height, width = drawn.box
        rows, columns = drawn.rescaled
        shown = cv2.resize(PHOTO[y : y + height, x : x + width], (columns, rows), interpolation=cv2.INTER_AREA)
        turned = symmetry(shown, drawn.symmetry)
        top, left = drawn.inner
        assert np.array_equal(hr, turned[top : top + 96, left : left + 96])
        small = cv2.resize(hr, (24, 24), interpolation=cv2.INTER_AREA).astype(float)
        exact, moved = np.mean((lr - small) ** 2), np.mean((lr[:, :-1] - small[:, 1:]) ** 2)
        assert exact < moved / 2


def test_the_rest_of_the_recipe_does_not_depend_on_it():
    """The other streams are untouched: without a zoom nothing in a recipe differs from before there was one."""
    plain, zoomed = recipe("null", 5), recipe("[1, 1]", 5)
    assert plain == zoomed
    assert recipe("[0.5, 0.6]", 5).symmetry == plain.symmetry


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("augment: {zoom: [0.5, 5]}", "less than or equal to 4"),
        ("augment: {zoom: [0, 1]}", "greater than 0"),
        ("augment: {zoom: [1, 0.5]}", "low <= high"),
        ("crop: {mode: rescaled}\naugment: {zoom: [0.5, 1]}", "needs crop.mode: native"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(body, message):
    with pytest.raises(DegradeError, match=message):
        parse_preset(f"preset: 1\nname: mine\n{body}\nsteps: [{{op: imresize, id: a}}]", "mine")


def test_whole_photographs_have_one_size():
    with pytest.raises(DegradeError, match="a whole photograph has one size"):
        recipe("[0.5, 1]", hr_size=None)
