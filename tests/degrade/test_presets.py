"""Presets: the bundled ones load with the papers' values, and broken ones say where and why."""

from __future__ import annotations

import pytest

from degrade.errors import DegradeError
from degrade.presets import load_preset, parse_preset, preset_names

HEAD = "preset: 1\nname: mine\n"


NAMES = {
    "bicubic",
    "bsrgan",
    "imagenet-test",
    "real-esrgan",
    "real-esrgan-x2",
    "resshift",
    "s3diff",
    "seesr",
    "stablesr",
}


def test_bundled_presets_load_and_survive_a_round_trip():
    assert set(preset_names()) >= NAMES
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


def flat(value: object, path: str = "") -> dict[str, object]:
    """The leaves of a preset's dump, by their path; steps are named by their id."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {step["id"]: step for step in value}
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in flat(part, f"{path}.{name}").items()}
    return {path.strip("."): value}


def changes(name: str, base: str) -> dict[str, object]:
    """What preset `name` says that `base` does not, the name left out; steps in both are at the same paths."""
    ours, theirs = (flat(load_preset(preset).model_dump(mode="json")) for preset in (name, base))
    return {path: value for path, value in ours.items() if theirs.get(path, "absent") != value and path != "name"}


def test_presets_differ_from_each_other_exactly_where_their_options_do():
    assert changes("real-esrgan-x2", "real-esrgan") == {"scale": 2}
    assert changes("s3diff", "stablesr") == {"sharpen": None, "hr": "raw"}
    final = "steps.final.options.{}.steps.jpeg2.quality"
    assert changes("seesr", "real-esrgan") == {
        "sharpen": None,
        "hr": "raw",
        "steps.resize1.factor": [0.3, 1.5],
        "steps.noise1.options.gaussian.steps.gaussian1.sigma": [1, 15],
        "steps.noise1.options.poisson.steps.poisson1.scale": [0.05, 2.0],
        "steps.jpeg1.quality": [60, 95],
        "steps.blur2.p": 0.5,
        "steps.resize2.factor": [0.6, 1.2],
        "steps.noise2.options.gaussian.steps.gaussian2.sigma": [1, 12],
        "steps.noise2.options.poisson.steps.poisson2.scale": [0.05, 1.0],
        final.format("jpeg_first"): [60, 100],
        final.format("jpeg_last"): [60, 100],
    }


def test_s3diff_is_seesr_with_smaller_kernels_and_one_clean_pair_in_a_hundred():
    choice = load_preset("s3diff").steps[0]
    assert {name: option.weight for name, option in choice.options.items()} == {"clean": 0.01, "degraded": 0.99}
    assert [step.op for step in choice.options["clean"].steps] == ["imresize"]
    dump = load_preset("seesr").model_dump(mode="json")
    dump["steps"] = [step.model_dump(mode="json") for step in choice.options["degraded"].steps]
    ours, theirs = flat(dump), flat(load_preset("seesr").model_dump(mode="json"))
    assert {path: value for path, value in ours.items() if theirs[path] != value} == {
        "steps.blur1.sigma": [0.2, 1.5],
        "steps.blur2.sigma": [0.2, 1.0],
        **{f"steps.blur{order}.beta_generalized": [0.5, 2.0] for order in (1, 2)},
        **{f"steps.blur{order}.beta_plateau": [1.0, 1.5] for order in (1, 2)},
    }


def test_imagenet_test_is_one_mild_order():
    steps = {op.id: op for op in load_preset("imagenet-test").operators()}
    assert set(steps) == {"blur1", "resize1", "gaussian1", "poisson1", "jpeg1", "jpeg2", "resize3", "sinc3"}
    assert (steps["blur1"].sizes, steps["blur1"].sigma, steps["blur1"].sinc) == ((3, 11), (0.2, 0.8), 0.1)
    assert steps["blur1"].families == {"iso": 0.6, "aniso": 0.4}
    assert (steps["resize1"].factor, steps["gaussian1"].sigma, steps["poisson1"].scale) == (
        (0.5, 1.5),
        (1, 15),
        (0.05, 0.3),
    )
    assert (steps["jpeg1"].quality, steps["jpeg2"].quality) == ((70, 95), (80, 100))
    assert (steps["sinc3"].p, steps["sinc3"].sizes) == (0.2, (3, 5))


@pytest.mark.parametrize(("option", "scale"), [("direct", 4), ("halved", 2)])
def test_bsrgan_has_the_ranges_of_the_scale_that_is_left(option, scale):
    first = load_preset("bsrgan").steps[0]
    body = first.options[option].steps[-1]
    assert (body.order, body.after) == ("shuffled", {"down_b": "down_a"})
    steps = {step.id: step for step in body.steps}
    for name in ("blur_a", "blur_b"):
        assert steps[name].sizes == (7, 25)
        assert steps[name].sigma == (0, pytest.approx(2 + 0.2 * scale))
        assert steps[name].eigenvalues == (0, 4 + scale)
    down = steps["down_a"].options
    assert (down["resized"].weight, down["resized"].steps[0].divisor) == (0.75, (1, 2 * scale))
    assert (down["nearest"].steps[0].stride, down["nearest"].steps[0].sigma) == (
        scale,
        (0.1, pytest.approx(0.6 * scale)),
    )
    assert (steps["jpeg_a"].p, steps["jpeg_a"].quality) == (0.9, (30, 95))
    assert first.options[option].weight == {4: 0.75, 2: 0.25}[scale]


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
        ("steps: [{op: shrink, id: a, divisor: [4, 4], modes: {area: 1}}]", "another size than the LR image"),
        ("steps: [{op: decimate, id: a, stride: 4, sigma: [1, 2]}]", "another size than the LR image"),
        ("steps: [", "not valid YAML"),
        ("preset: 2\nsteps: [{op: imresize, id: a}]", "preset"),
    ],
)
def test_broken_presets_say_where_and_why(body, message):
    with pytest.raises(DegradeError, match=message):
        parse_preset(HEAD + body, "mine.yaml")


@pytest.mark.parametrize("name", ["crop", "symmetry", "preset", "scale", "hr_height", "box_y"])
@pytest.mark.parametrize("step", ["op: choice, id: {}, options: {{x: {{weight: 1}}}}", "op: isp, id: {}"])
def test_ids_that_recipes_use_for_themselves_are_refused(name, step):
    step = step.format(name)
    with pytest.raises(DegradeError, match=rf"the id '{name}' of an? \w+ is taken: .*; choose another one"):
        parse_preset(HEAD + f"steps: [{{{step}}}, {{op: imresize, id: last}}]", "mine.yaml")


@pytest.mark.parametrize("name", ["last_applied", "last_height"])
def test_two_steps_with_one_column_are_refused_by_their_names(name):
    choice = f"{{op: choice, id: {name}, options: {{x: {{weight: 1}}}}}}"
    message = f"the choice '{name}' and the imresize 'last' both give recipes a column '{name}'"
    with pytest.raises(DegradeError, match=message):
        parse_preset(HEAD + f"steps: [{choice}, {{op: imresize, id: last}}]", "mine.yaml")
    options = "{x: {weight: 1, steps: [{op: imresize, id: a}]}, y: {weight: 1, steps: [{op: imresize, id: a}]}}"
    assert parse_preset(HEAD + f"steps: [{{op: choice, id: c, options: {options}}}]", "mine.yaml").columns()["c"]


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(DegradeError, match="did you mean 'real-esrgan'"):
        load_preset("realesrgan")
    with pytest.raises(DegradeError, match="cannot be read"):
        load_preset("no/such.yaml")
