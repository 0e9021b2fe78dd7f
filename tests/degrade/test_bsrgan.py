"""BSRGAN's operators against the reference's formulas, and its shuffled order."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage import data

from degrade.covariance import add_correlated, eigen, factor
from degrade.engine import render
from degrade.errors import DegradeError
from degrade.operators.base import Place
from degrade.operators.correlated import Correlated
from degrade.operators.decimate import DecimateDraw
from degrade.operators.eigen_blur import EigenBlurDraw
from degrade.operators.shrink import ShrinkDraw
from degrade.philox import stream_key
from degrade.presets import load_preset, parse_preset
from degrade.recipe import Recipe, sample_recipe
from tests.support.expectations import reference_covariances

IMAGE = "89abcdef01234567" * 4
PHOTO = data.chelsea()[:200, :240].astype(np.float32)


def draw(crop: int, hr_size: int = 128) -> Recipe:
    return sample_recipe(
        load_preset("bsrgan"), seed=5, image=IMAGE, crop=crop, image_size=(300, 400), hr_size=hr_size, scale=4
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.floats(0.02, 8.0), st.floats(0.02, 8.0), st.floats(0.0, math.pi))
def test_the_kernel_is_the_density_with_these_eigenvalues(half, first, second, theta):
    size = 2 * half + 1
    along = np.array([math.cos(theta), math.sin(theta)])
    across = np.array([-along[1], along[0]])
    covariance = first * np.outer(along, along) + second * np.outer(across, across)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    expected = stats.multivariate_normal([0, 0], covariance).pdf(np.dstack([x, y]))
    drawn = EigenBlurDraw(
        id="b", isotropic=False, size=size, sigma_x=math.sqrt(first), sigma_y=math.sqrt(second), theta=theta
    )
    np.testing.assert_allclose(drawn.kernel(), expected / expected.sum(), atol=1e-6)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("sigma", [0.0, 1e-200, 1e-6, 1.7])
def test_the_blur_is_a_mirrored_convolution_down_to_no_width_at_all(isotropic, sigma):
    rest = {} if isotropic else {"sigma_y": sigma / 2, "theta": 0.7}
    drawn = EigenBlurDraw(id="b", isotropic=isotropic, size=15, sigma_x=sigma, **rest)
    expected = ndimage.convolve(PHOTO.astype(np.float64), drawn.kernel()[..., None], mode="mirror")
    assert np.abs(drawn.render(PHOTO.copy()) - expected).max() < 0.1
    if sigma < 1e-3:
        assert np.array_equal(drawn.render(PHOTO.copy()), PHOTO)


@pytest.mark.parametrize(("stride", "sigma"), [(4, 0.1), (4, 2.4), (2, 0.7), (3, 1.5)])
def test_decimation_is_a_shifted_kernel_and_every_nth_pixel(stride, sigma):
    """Against the kernel moved in two dimensions by bilinear interpolation, SciPy's convolution, and slicing."""
    places = np.arange(25.0) - 12
    kernel = np.exp(-(places[:, None] ** 2 + places**2) / (2 * sigma**2))
    shifted = ndimage.shift(kernel, -(stride - 1) / 2, order=1, mode="nearest")
    blurred = ndimage.convolve(PHOTO.astype(np.float64), (shifted / shifted.sum())[..., None], mode="mirror")
    expected = blurred[::stride, ::stride]
    drawn = DecimateDraw(id="d", stride=stride, sigma=sigma, height=expected.shape[0], width=expected.shape[1])
    ours = drawn.render(PHOTO.copy())
    assert ours.shape[:2] == drawn.output_size((200, 240))
    assert np.abs(ours - expected).max() < 0.01
    assert (drawn.taps() * places).sum() == pytest.approx((stride - 1) / 2, abs=1e-3)


@pytest.mark.parametrize("mode", ["antialiased", "area", "linear", "cubic"])
def test_shrinking_never_leaves_the_code_values(mode):
    checks = np.kron(np.indices((20, 20)).sum(axis=0) % 2, np.ones((5, 5)))[..., None] * np.full(3, 255.0)
    small = ShrinkDraw(id="s", divisor=1.7, mode=mode, height=58, width=58).render(checks.astype(np.float32))
    assert (small.min(), small.max()) == (0.0, 255.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=6, max_size=6))
def test_eigen_and_factor_take_a_matrix_apart(entries):
    a, b, c, d, e, f = entries
    symmetric = [[a, b, c], [b, d, e], [c, e, f]]
    values, vectors = eigen(symmetric)
    rebuilt = np.array(vectors) @ np.diag(values) @ np.array(vectors).T
    np.testing.assert_allclose(rebuilt, symmetric, atol=1e-12)
    np.testing.assert_allclose(np.array(vectors).T @ np.array(vectors), np.eye(3), atol=1e-13)
    positive = np.array(symmetric) @ np.array(symmetric)
    lower = np.array(factor(positive.tolist()))
    np.testing.assert_allclose(lower @ lower.T, positive, atol=1e-3 * max(1e-9, positive.max()))


def test_covariances_are_distributed_as_the_reference_draws_them():
    expected = reference_covariances(4000, 25.0)
    operator = Correlated(id="correlated", sigma=25)
    places = [Place(5, IMAGE, crop, (64, 64), (16, 16)) for crop in range(2000)]
    ours = [operator.draw(place.stream("correlated"), place) for place in places]
    for place, name in enumerate(("var_r", "var_g", "var_b", "cov_rg", "cov_rb", "cov_gb")):
        values = np.array([getattr(step, name) for step in ours])
        assert stats.ks_2samp(values, expected[:, place]).pvalue > 0.001, name
        # the power: a sigma of 27.5 instead of 25, or no magnitudes where a sign is free
        assert stats.ks_2samp(values * 1.21, expected[:, place]).pvalue < 1e-4, name


def test_correlated_noise_has_the_covariance_it_says():
    step = next(step for crop in range(100) for step in draw(crop).steps if step.op == "correlated")
    key = stream_key(1, IMAGE, 0, "correlated/field")
    flat = np.full((400, 400, 3), 128, np.float32)
    added = add_correlated(flat, [[value / 9 for value in row] for row in step.covariance()], key) - 128
    measured = np.cov(added.reshape(-1, 3).T) * 9
    np.testing.assert_allclose(measured, step.covariance(), atol=0.02 * max(step.var_r, step.var_g, step.var_b))


def test_the_second_down_scaling_stays_behind_the_first_and_ends_at_the_lr_size():
    orders = set()
    for crop in range(300):
        recipe = draw(crop)
        order = recipe.sequences["body"]
        assert order.index("down_a") < order.index("down_b")
        names = [step.id for step in recipe.steps]
        first = "shrink_a" if recipe.choices["down_a"] == "resized" else "nearest_a"
        assert names.index(first) < names.index("down_b")
        assert names[-1] == "jpeg_b"
        assert ("halving" in names) == (recipe.choices["first"] == "halved")
        orders.add(order)
    assert len(orders) > 150


def test_it_renders_whole_pairs():
    for crop in range(24):
        recipe = draw(crop)
        hr, lr = render(data.coffee()[:300, :400], recipe)
        assert (hr.shape, lr.shape) == ((128, 128, 3), (32, 32, 3))
        block = hr.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        assert np.corrcoef(block.ravel(), lr.ravel())[0, 1] > 0.5


HEAD = "preset: 1\nname: mine\nsteps:\n  - op: sequence\n    id: body\n"
STEPS = (
    "    steps:\n      - {op: shrink, id: a, divisor: [1, 3], modes: {area: 1}}\n      - {op: imresize, id: b}\n"
    "      - {op: jpeg, id: j, quality: [50, 60]}\n"
)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("    after: {b: a}\n", "order: shuffled"),
        ("    order: shuffled\n    after: {b: x}\n", "'x', which is no step"),
        ("    order: shuffled\n    after: {b: a, j: a}\n", "names a step twice"),
        ("    order: shuffled\n    after: {b: b}\n", "names a step twice"),
        ("    order: shuffled\n", "another size than the LR image"),
        ("    order: shuffled\n    after: {b: j}\n", "another size than the LR image"),
        ("    order: shuffled\n    after: {a: b}\n", "another size than the LR image"),
    ],
)
def test_orders_that_make_no_sense_are_refused(line, message):
    with pytest.raises(DegradeError, match=message):
        parse_preset(HEAD + line + STEPS, "mine")


def test_every_order_that_is_allowed_is_as_likely():
    preset = parse_preset(HEAD + "    order: shuffled\n    after: {b: a}\n" + STEPS, "mine")
    arguments = {"seed": 1, "image": IMAGE, "image_size": (80, 80), "hr_size": 64, "scale": 4}
    drawn = [sample_recipe(preset, crop=crop, **arguments).sequences["body"] for crop in range(1500)]
    allowed = [order for order in permutations("abj") if order.index("a") < order.index("b")]
    assert set(drawn) == set(allowed)
    assert stats.chisquare([drawn.count(order) for order in allowed]).pvalue > 0.001


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{op: shrink, id: a, divisor: [0.5, 3], modes: {area: 1}}", "at least 1"),
        ("{op: shrink, id: a, divisor: [1, 3], modes: {lanczos: 1}}", "unknown resize mode 'lanczos'"),
        ("{op: eigen_blur, id: a, sizes: [7, 25], sigma: [-1, 2], eigenvalues: [0, 8]}", "not negative"),
        ("{op: eigen_blur, id: a, sizes: [7, 24], sigma: [0, 2], eigenvalues: [0, 8]}", "odd"),
        ("{op: decimate, id: a, stride: 0, sigma: [1, 2]}", "greater than or equal to 1"),
    ],
)
def test_broken_ranges_say_why(step, message):
    with pytest.raises(DegradeError, match=message):
        parse_preset(f"preset: 1\nname: mine\nsteps: [{step}, {{op: imresize, id: r}}]", "mine")
