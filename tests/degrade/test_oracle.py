"""Operators and the whole pipeline against basicsr, torch and libjpeg on real photographs.

Kernels for equal parameters are compared in test_kernels, the unsharp mask in test_engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage import data

from degrade import codecs, filters, noise
from degrade.basicsr_compat import degradations, diffjpeg
from degrade.engine import render
from degrade.operators.blur import BlurDraw
from degrade.philox import stream_key
from degrade.preset import Preset
from degrade.presets import load_preset, preset_names
from degrade.recipe import sample_recipe
from tests.support.basicsr_reference import Reference, filtered, seeded, to_image, to_tensor

IMAGE = "4567890123abcdef" * 4
KEY = stream_key(3, IMAGE, 0, "oracle/field")
PHOTOS = {
    "astronaut": data.astronaut()[100:299, 150:361],
    "chelsea": data.chelsea()[:150, :151],
    "coffee": data.coffee()[50:200, 60:260],
    "rocket": data.rocket()[200:329, 250:380],
}


def photo(name: str) -> np.ndarray:
    return PHOTOS[name].astype(np.float32)


@lru_cache(maxsize=1)
def blurs() -> list[BlurDraw]:
    """Every kernel of 60 recipes of every preset, as it was drawn."""
    found = []
    for name in preset_names():
        preset = load_preset(name)
        for crop in range(60):
            drawn = sample_recipe(
                preset, seed=1, image=IMAGE, crop=crop, image_size=(300, 300), hr_size=64, scale=preset.scale or 4
            )
            found += [step for step in drawn.steps if isinstance(step, BlurDraw)]
    return found


def reference_kernel(drawn: BlurDraw) -> np.ndarray:
    ops = degradations()
    if drawn.family == "sinc":
        return ops.circular_lowpass_kernel(drawn.omega, drawn.size)
    sigma_y = drawn.sigma_x if drawn.sigma_y is None else drawn.sigma_y
    common = (drawn.size, drawn.sigma_x, sigma_y, drawn.theta or 0.0)
    isotropic = drawn.sigma_y is None
    if drawn.family.startswith("generalized"):
        return ops.bivariate_generalized_Gaussian(*common, drawn.beta, isotropic=isotropic)
    if drawn.family.startswith("plateau"):
        return ops.bivariate_plateau(*common, drawn.beta, isotropic=isotropic)
    return ops.bivariate_Gaussian(*common, isotropic=isotropic)


def test_every_kernel_that_presets_draw_is_basicsrs():
    assert {drawn.family for drawn in blurs()} >= {"sinc", "iso", "generalized_aniso", "plateau_aniso"}
    for drawn in blurs():
        assert np.abs(drawn.kernel() - reference_kernel(drawn)).max() < 1e-6, drawn


@pytest.mark.parametrize("name", PHOTOS)
def test_blurring_is_basicsrs_filter2d_within_a_tenth_of_a_code_value(name):
    """Ours trims kernels and takes large ones apart; there they are dense, and padded to 21 x 21."""
    by_family = {(drawn.family, drawn.size < 12): drawn for drawn in blurs()}
    assert len(by_family) >= 13
    for drawn in by_family.values():
        expected = filtered(photo(name), reference_kernel(drawn))
        assert np.abs(drawn.render(photo(name)) - expected).max() < 0.1, drawn


SIDES = st.integers(20, 300)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(PHOTOS)), st.sampled_from(["linear", "cubic"]), SIDES, SIDES)
def test_linear_and_cubic_resizing_is_torchs(name, mode, height, width):
    from torch.nn import functional

    image = photo(name)
    names = {"linear": "bilinear", "cubic": "bicubic"}
    expected = to_image(functional.interpolate(to_tensor(image), size=(height, width), mode=names[mode]))
    assert np.abs(filters.resize(image, (height, width), mode) - expected).max() < 0.05


def footprints(image: np.ndarray, side: int) -> np.ndarray:
    """Rows of `image` averaged over exact footprints: the integral of a piecewise constant function, in float64."""
    edges = np.linspace(0, image.shape[0], side + 1)
    integral = np.concatenate([np.zeros((1, *image.shape[1:])), np.cumsum(image.astype(np.float64), axis=0)])
    whole = np.minimum(edges.astype(int), image.shape[0] - 1)
    at = integral[whole] + (edges - whole)[:, None, None] * image[whole]
    return np.diff(at, axis=0) * side / image.shape[0]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(PHOTOS)), st.booleans(), st.floats(0.15, 1.0), st.floats(0.15, 1.0))
def test_area_resizing_averages_exact_footprints(name, grows, first, second):
    """Shrinking: everywhere. Enlarging: but for lines whose edge falls on that of a pixel, up to one in twenty, for
    which OpenCV's arithmetic takes the pixel beside it. (torch averages the whole pixels that a footprint touches.)"""
    image = photo(name)
    height, width = (
        max(1, int(side * (1 + by if grows else by))) for side, by in zip(image.shape[:2], (first, second), strict=True)
    )
    expected = footprints(footprints(image, height).swapaxes(0, 1), width).swapaxes(0, 1)
    off = np.abs(filters.resize(image, (height, width), "area") - expected) > 0.01
    assert off.mean() <= (0.05 if grows else 0.0)


@pytest.mark.parametrize("name", PHOTOS)
def test_area_resizing_is_torchs_at_whole_ratios_and_sharper_between_them(name):
    from torch.nn import functional

    image = np.ascontiguousarray(photo(name)[:120, :120])
    for side in (60, 40, 30, 24):
        expected = to_image(functional.interpolate(to_tensor(image), size=(side, side), mode="area"))
        assert np.abs(filters.resize(image, (side, side), "area") - expected).max() < 0.01
    for side in (70, 100):
        theirs = to_image(functional.interpolate(to_tensor(image), size=(side, side), mode="area"))
        ours = filters.resize(image, (side, side), "area")
        assert 0.3 < np.abs(ours - theirs).mean() < 4.0  # code values: half a pixel of blur more on one side or another
        assert cv2.Laplacian(ours, cv2.CV_32F).std() > cv2.Laplacian(theirs, cv2.CV_32F).std()


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("quality", [1, 10, 30, 60, 90, 95, 96, 100])
def test_jpeg_is_libjpegs_to_the_last_bit(name, quality):
    """Pillow brings a libjpeg-turbo of its own."""
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(PHOTOS[name]).save(buffer, "JPEG", quality=quality)
    expected = np.asarray(Image.open(buffer))
    assert np.array_equal(codecs.jpeg(photo(name), quality), expected)


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("quality", [30.0, 50.0, 75.0, 90.0])
def test_jpeg_loses_what_basicsrs_does_of_luma_and_less_of_chroma(name, quality):
    """basicsr does not round its tables, so single pixels differ, and repeats chroma where libjpeg smooths it."""
    import torch

    image = np.ascontiguousarray(photo(name)[:128, :128])
    with torch.no_grad():
        theirs = to_image(diffjpeg().DiffJPEG(differentiable=False)(to_tensor(image), quality=torch.tensor([quality])))

    def planes(pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(codecs.to_uint8(pixels), cv2.COLOR_RGB2YCrCb).astype(np.float64)

    both = [planes(codecs.jpeg(image, int(quality))), planes(theirs)]
    lost = [np.abs(result - planes(image)).mean(axis=(0, 1)) for result in both]
    assert lost[0][0] == pytest.approx(lost[1][0], rel=0.08)
    assert np.all(lost[0][1:] < lost[1][1:])
    assert np.all(lost[1][1:] < 1.3 * lost[0][1:])
    steps = [np.abs(np.diff(result[..., 1:], axis=1)).mean() for result in both]
    assert steps[0] < steps[1]


RAMP = np.tile(np.arange(256, dtype=np.float32)[None, :, None], (1200, 1, 3))
"""Every code value in a column of its own: basicsr counts the values of an image, and 256 make 256 levels."""


CODES = range(1, 160, 4)
"""Brighter columns are clipped by ours, as basicsr clips after adding."""


def alike(ours: np.ndarray, theirs: np.ndarray) -> float:
    """A p-value for two samples of counts: chi-square over about twelve cells, and the ratio of their variances."""
    cells = np.unique(np.quantile(np.concatenate([ours, theirs]), np.linspace(0, 1, 13)[1:-1]))
    counts = np.array(
        [np.bincount(np.searchsorted(cells, sample), minlength=len(cells) + 1) for sample in (ours, theirs)]
    )
    shape = stats.chi2_contingency(counts[:, counts.sum(axis=0) > 0]).pvalue
    spread = stats.levene(ours, theirs, center="mean").pvalue
    return float(2 * min(shape, spread))


@pytest.mark.parametrize("gray", [False, True])
def test_poisson_noise_has_basicsrs_distribution_at_every_code_value(gray):
    with seeded(0):
        added = to_image(degradations().generate_poisson_noise_pt(to_tensor(RAMP), 1.0, int(gray)))
    ours, theirs = (
        {code: np.rint((field[:, code, 0] + code) * 256 / 255) for code in CODES}
        for field in (noise.add_poisson(RAMP.copy(), 1.0, gray, KEY) - RAMP, added)
    )
    pvalues = {code: alike(ours[code], theirs[code]) for code in CODES}
    assert min(pvalues.values()) > 0.01 / len(CODES), pvalues
    # the power: noise a quarter stronger is told apart wherever there are more than a few counts
    stronger = [alike(code + 1.25 * (ours[code] - code), theirs[code]) for code in CODES if code > 10]
    assert max(stronger) < 0.01 / len(CODES)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("gray", [False, True])
def test_noise_on_a_photograph_has_basicsrs_moments_and_channels(kind, gray):
    """Before clipping nothing is lost where the photograph is kept away from black and white."""
    ops, image = degradations(), np.clip(np.tile(photo("coffee"), (2, 2, 1)), 100, 155)
    with seeded(1):
        if kind == "gaussian":
            theirs = to_image(ops.generate_gaussian_noise_pt(to_tensor(image), sigma=8.0, gray_noise=int(gray)))
            ours = noise.add_gaussian(image.copy(), 8.0, gray, KEY) - image
        else:
            levels = 2 ** np.ceil(np.log2([len(np.unique(np.rint(image))), 256]))
            theirs = to_image(ops.generate_poisson_noise_pt(to_tensor(image), 1.0, int(gray)))
            theirs *= np.sqrt(levels[0] / levels[1])  # basicsr counts 56 values here and makes 64 levels of them
            ours = noise.add_poisson(image.copy(), 1.0, gray, KEY) - image
    for field in (ours, theirs):
        assert np.allclose(field[..., 0], field[..., 1], atol=1e-3) == gray
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.15)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    between = [np.corrcoef(field.reshape(-1, 3).T)[0, 1] for field in (ours, theirs)]
    assert between[0] == pytest.approx(between[1], abs=0.02)


TILE, PAIRS = 96, 150


@lru_cache(maxsize=1)
def tiles() -> list[np.ndarray]:
    pictures = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    return [
        np.ascontiguousarray(picture[y : y + TILE, x : x + TILE])
        for picture in pictures
        for y in range(0, picture.shape[0] - TILE + 1, TILE)
        for x in range(0, picture.shape[1] - TILE + 1, TILE)
    ]


def measures(lr: np.ndarray) -> dict[str, float]:
    """What can be seen of a degradation in an LR image: luma inside, where no border rule matters."""
    luma = cv2.cvtColor(lr, cv2.COLOR_RGB2GRAY).astype(np.float64)[2:-2, 2:-2]
    laplacian = cv2.Laplacian(luma, cv2.CV_64F)[1:-1, 1:-1]
    rough = cv2.filter2D(luma, cv2.CV_64F, np.array([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]))[1:-1, 1:-1]
    power = np.abs(np.fft.fft2(luma - luma.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in luma.shape), indexing="ij"))
    return {
        "mean": luma.mean(),
        "spread": luma.std(),
        "laplacian": float(np.log(laplacian.var() + 1e-3)),
        "noise": float(np.abs(rough).mean() * math.sqrt(math.pi / 2) / 6),  # Immerkaer 1996
        "high": power[frequency > 0.25].sum() / power.sum(),
    }


def measured(name: str) -> dict[str, np.ndarray]:
    """Measures of PAIRS LR images by our engine, as the reference gets its images: no context, no sharpening."""
    crop = {"mode": "native", "margin": 0, "phases": 1}
    plain = {"sharpen": None, "hr": "raw", "crop": crop, "augment": {}}
    preset = Preset.model_validate(load_preset(name).model_dump(mode="json") | plain)
    arguments = {"seed": 1, "image": IMAGE, "image_size": (TILE, TILE), "hr_size": TILE, "scale": 4}
    return table(
        render(tiles()[index % len(tiles())], sample_recipe(preset, crop=index, **arguments))[1]
        for index in range(PAIRS)
    )


def table(images: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    rows = [measures(image) for image in images]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_the_whole_pipeline_looks_like_real_esrgans_over_basicsr():
    """Two-sample tests of 150 LR images of the same tiles. Chroma is left out: basicsr's JPEG repeats it (above).

    The power: with a weaker degradation (ImageNet-Test's ranges) every measure of noise and detail is told apart.
    Half of all ranges (SeeSR's), a first blur of twice the range, no second blur, or twice the second noise are not,
    because pairs differ among themselves by more. Parameters and operators have their own tests.
    """
    with seeded(3):
        reference = Reference(sharpen=False)
        pairs = (reference(to_tensor(tiles()[index % len(tiles())])) for index in range(PAIRS))  # all draws its own
        theirs = table(np.rint(to_image(lr)).astype(np.uint8) for _, lr in pairs)
    ours, weaker = measured("real-esrgan"), measured("imagenet-test")
    for name, values in theirs.items():
        assert stats.ks_2samp(ours[name], values).pvalue > 0.01, name
        assert stats.wilcoxon(ours[name], values).pvalue > 0.01, name  # tile by tile, which is sharper
    for name in ("laplacian", "noise", "high"):
        assert stats.ks_2samp(weaker[name], theirs[name]).pvalue < 1e-4, name
