"""Presets: the bundled ones load with the papers' values, and broken ones say where and why."""

from __future__ import annotations

import pytest

from degrade.errors import DegradeError
from degrade.presets import load_preset, parse_preset, preset_names

HEAD = "preset: 1\nname: mine\n"


def test_bundled_presets_load_and_survive_a_round_trip():
    assert {"real-esrgan", "resshift", "bicubic"} <= set(preset_names())
    for name in preset_names():
        preset = load_preset(name)
        assert preset.name == name
        assert type(preset).model_validate(preset.model_dump(mode="json")) == preset


def test_real_esrgan_has_the_released_parameters():
    steps = {op.id: op for op in load_preset("real-esrgan").operators()}
    assert (steps["blur1"].sigma, steps["blur2"].sigma) == ((0.2, 3.0), (0.2, 1.5))
    assert (steps["blur1"].p, steps["blur2"].p, steps["sinc3"].p) == (1.0, 0.8, 0.8)
    assert (steps["resize1"].up, steps["resize1"].down, steps["resize1"].keep) == (0.2, 0.7, 0.1)
    assert (steps["resize1"].factor, steps["resize2"].factor) == ((0.15, 1.5), (0.3, 1.2))
    assert (steps["gaussian1"].sigma, steps["gaussian2"].sigma) == ((1, 30), (1, 25))
    assert (steps["poisson1"].scale, steps["poisson2"].scale) == ((0.05, 3.0), (0.05, 2.5))
    assert steps["jpeg1"].quality == steps["jpeg2"].quality == (30, 95)


def test_resshift_differs_from_real_esrgan_where_the_paper_does():
    preset = load_preset("resshift")
    second = next(node for node in preset.steps if node.id == "second_order")
    steps = {op.id: op for op in preset.operators()}
    assert (preset.sharpen, preset.hr, preset.crop.mode, second.p) == (None, "raw", "rescaled", 0.5)
    assert [steps[name].sizes for name in ("blur1", "blur2", "sinc3")] == [(3, 19), (3, 13), (3, 13)]


def test_a_preset_of_ones_own_is_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "steps: [{op: jpeg, id: j, quality: [10, 20]}, {op: imresize, id: r}]\n")
    assert [op.id for op in load_preset(path).operators()] == ["j", "r"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("steps: [{op: jpeg, id: j, quality: [20, 10]}]", r"steps.0.jpeg.*lowest, highest"),
        ("steps: [{op: jpeg, id: j, quality: [30, 101]}]", "between 1 and 100"),
        ("steps: [{op: gaussian, id: g, sigma: [5, 1]}]", "low <= high"),
        ("steps: [{op: gaussian, id: g, sigma: [1, 5], grey: 0.4}]", "grey"),
        ("steps: [{op: gauss, id: g}]", "gaussian"),
        ("steps: [{op: imresize, id: a}, {op: imresize, id: a}]", "used twice"),
        ("steps: [{op: sinc, id: s, sizes: [4, 9]}]", "odd"),
        ("steps: [{op: blur, id: b, sizes: [7, 9], sigma: [1, 2], families: {isotropic: 1}}]", "unknown kernel family"),
        ("steps: [{op: blur, id: b, sizes: [7, 9], sigma: [1, 2], families: {iso: 0}}]", "above 0"),
        ("steps: [{op: imresize, id: a, p: 1.5}]", "less than or equal to 1"),
        ("steps: [{op: gaussian, id: g, sigma: [1, .inf]}]", "finite"),
        ("steps: []", "at least 1"),
        ("hr: sharpened\nsteps: [{op: imresize, id: a}]", "needs a sharpen section"),
        ("steps: [{op: imresize, id: a, p: 0.5}]", "another size than the LR image"),
        ("steps: [{op: resize, id: a, of: lr, up: 1, keep: 1, modes: {area: 1}}]", "another size than the LR image"),
        (
            "steps: [{op: imresize, id: a}, {op: choice, id: c, options: {x: {weight: 1}, y: {weight: 1,"
            " steps: [{op: resize, id: b, of: input, down: 1, modes: {area: 1}}]}}}]",
            "another size than the LR image",
        ),
        ("steps: [", "not valid YAML"),
        ("preset: 2\nsteps: [{op: imresize, id: a}]", "preset"),
    ],
)
def test_broken_presets_say_where_and_why(body, message):
    with pytest.raises(DegradeError, match=message):
        parse_preset(HEAD + body, "mine.yaml")


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(DegradeError, match="did you mean 'real-esrgan'"):
        load_preset("realesrgan")
    with pytest.raises(DegradeError, match="cannot be read"):
        load_preset("no/such.yaml")
