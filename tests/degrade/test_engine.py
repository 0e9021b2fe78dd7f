"""The CPU engine: pairs that line up, bytes that never change, and honest refusals."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from degrade.augment import symmetry
from degrade.codecs import to_uint8
from degrade.engine import render
from degrade.errors import DegradeError
from degrade.imresize import imresize
from degrade.presets import load_preset, parse_preset, preset_names
from degrade.recipe import Recipe, sample_recipe

IMAGE = "fedcba9876543210" * 4
PHOTO = data.astronaut()


def recipe(preset: str, crop: int = 0, image: np.ndarray = PHOTO, hr_size: int = 128, scale: int = 4) -> Recipe:
    size = (image.shape[0], image.shape[1])
    chosen = load_preset(preset)
    return sample_recipe(
        chosen, seed=3, image=IMAGE, crop=crop, image_size=size, hr_size=hr_size, scale=chosen.scale or scale
    )


def digest(preset: str = "real-esrgan", crops: int = 4) -> str:
    pairs = [render(PHOTO, recipe(preset, crop)) for crop in range(crops)]
    return hashlib.sha256(b"".join(image.tobytes() for pair in pairs for image in pair)).hexdigest()


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second.astype(float)) ** 2)))


@pytest.mark.parametrize("preset", preset_names())
def test_replay_from_json_gives_the_same_bytes_and_leaves_the_photograph_alone(preset):
    before = PHOTO.copy()
    for crop in range(6):
        drawn = recipe(preset, crop)
        first, again = render(PHOTO, drawn), render(PHOTO, Recipe.from_json(drawn.to_json()))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(PHOTO, before)


def test_bytes_do_not_depend_on_the_thread_setting_and_the_setting_is_left_as_it_was():
    expected = digest()
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            assert digest() == expected
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)


def test_threads_that_render_at_once_do_not_disturb_each_other():
    drawn = [recipe("real-esrgan", crop) for crop in range(8)]
    alone = [render(PHOTO, one) for one in drawn]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: render(PHOTO, one), drawn * 2))
    for (hr, lr), (hr_again, lr_again) in zip(alone * 2, together, strict=True):
        assert np.array_equal(hr, hr_again)
        assert np.array_equal(lr, lr_again)


def test_bytes_are_the_same_in_another_process_in_another_order():
    code = (
        "import sys; sys.path.insert(0, 'tests/degrade'); import test_engine as t\n"
        "[t.render(t.PHOTO, t.recipe('resshift', crop)) for crop in (5, 2)]\n"
        "print(t.digest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "99", "OMP_NUM_THREADS": "3", "OPENCV_FOR_THREADS_NUM": "3"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = str(root)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[-1] == digest()


def test_the_engine_brings_neither_torch_nor_basicsr():
    code = (
        "import sys\n"
        "from degrade.presets import load_preset\n"
        "assert not {'numpy', 'cv2', 'torch'} & set(sys.modules)\n"
        "import numpy as np; from degrade.recipe import sample_recipe; from degrade.engine import render\n"
        "p = load_preset('real-esrgan'); image = np.zeros((200, 200, 3), np.uint8)\n"
        f"common = dict(seed=1, image={IMAGE!r}, image_size=(200, 200), hr_size=64, scale=4)\n"
        "for crop in range(8):\n"
        "    render(image, sample_recipe(p, crop=crop, **common))\n"
        "assert 'albumentations' in sys.modules and not {'torch', 'basicsr'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, check=True)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_bicubic_preset_is_imresize_of_its_hr(scale):
    for crop in range(3):
        drawn = recipe("bicubic", crop, hr_size=96, scale=scale)
        hr, lr = render(PHOTO, drawn)
        y, x, height, width = drawn.box
        assert np.array_equal(hr, PHOTO[y : y + height, x : x + width])
        assert np.array_equal(lr, to_uint8(imresize(hr.astype(np.float32), (96 // scale, 96 // scale))))


@pytest.mark.parametrize("target", [(16, 16), (17, 23), (100, 90)])
def test_imresize_equals_the_formula_written_out(target):
    """Against a double loop over MATLAB's definition, in float64."""
    source = np.random.default_rng(0).integers(0, 256, (48, 60)).astype(np.float64)

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    def line(values: np.ndarray, count: int) -> np.ndarray:
        scale = count / len(values)
        shrink = min(scale, 1.0)
        result = []
        for position in range(count):
            centre = (position + 0.5) / scale - 0.5
            reach = 2.0 / shrink
            total = weight_sum = 0.0
            for index in range(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1):
                weight = kernel(shrink * (centre - index))
                mirrored = -1 - index if index < 0 else index
                mirrored = 2 * len(values) - 1 - mirrored if mirrored >= len(values) else mirrored
                total += weight * values[mirrored]
                weight_sum += weight
            result.append(total / weight_sum)
        return np.array(result)

    rows = np.stack([line(column, target[0]) for column in source.T], axis=1)
    expected = np.stack([line(row, target[1]) for row in rows])
    result = imresize(np.repeat(source[..., None], 3, axis=2).astype(np.float32), target)
    assert np.abs(result - expected[..., None]).max() < 1e-3


def test_imresize_gives_matlabs_numbers():
    """imresize([0 51 102 153 204 255 ...]', 0.5) keeps a ramp's slope inside; a constant stays what it is."""
    ramp = np.tile(np.arange(32, dtype=np.float32)[None, :, None], (8, 1, 3))
    half = imresize(ramp, (4, 16))
    np.testing.assert_allclose(half[0, 4:12, 0], np.arange(4, 12) * 2 + 0.5, atol=1e-4)
    np.testing.assert_allclose(imresize(np.full((9, 9, 3), 77, np.float32), (4, 5)), 77, atol=1e-4)


MILD = """
preset: 1
name: mild
augment: {hflip: 0.5, vflip: 0.5, transpose: 0.5}
steps: [{op: imresize, id: r}]
"""


def test_hr_and_lr_show_the_same_place_under_every_symmetry():
    """With a context and all eight symmetries, up-scaled LR matches its own HR and no shifted or turned one."""
    preset, photo = parse_preset(MILD, "mild"), PHOTO[:400]
    seen = set()
    for crop in range(80):
        drawn = sample_recipe(preset, seed=3, image=IMAGE, crop=crop, image_size=(400, 512), hr_size=96, scale=4)
        hr, lr = render(photo, drawn)
        exact = psnr(lr, cv2.resize(hr, (24, 24), interpolation=cv2.INTER_AREA))
        moved = psnr(lr[:, :-1], cv2.resize(hr, (24, 24), interpolation=cv2.INTER_AREA)[:, 1:])
        assert exact > 24.0
        assert exact > moved + 3.0
        seen.add(drawn.symmetry)
    assert len(seen) == 8


@pytest.mark.parametrize("name", ["e", "h", "v", "r180", "t", "r90", "r270", "hvt"])
def test_symmetries_are_what_their_names_say(name):
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    turned = image.swapaxes(0, 1)
    expected = {
        "e": image,
        "h": image[:, ::-1],
        "v": image[::-1],
        "r180": image[::-1, ::-1],
        "t": turned,
        "r90": turned[::-1],
        "r270": turned[:, ::-1],
        "hvt": turned[::-1, ::-1],
    }[name]
    assert np.array_equal(symmetry(image, name), expected)


def test_sharpened_and_raw_targets_differ_by_the_unsharp_mask_alone():
    import torch

    from degrade.basicsr_compat import img_process_util
    from degrade.usm import sharpen

    reference = img_process_util().USMSharp()
    crop = PHOTO[100:228, 150:278]
    with torch.no_grad():
        tensor = torch.from_numpy(crop.astype(np.float32) / 255).permute(2, 0, 1)[None]
        expected = reference(tensor, weight=0.5, threshold=9.99)[0].permute(1, 2, 0).numpy() * 255
    # what is left is float32's rounding; a residual that it takes over the threshold would show in 51 x 51 pixels
    assert np.abs(sharpen(crop, 0.5, 50, 9.99) - expected).max() < 1e-3

    value = load_preset("real-esrgan").model_dump(mode="json")
    raw = type(load_preset("real-esrgan")).model_validate({**value, "hr": "raw"})
    drawn = sample_recipe(raw, seed=3, image=IMAGE, crop=0, image_size=(512, 512), hr_size=128, scale=4)
    sharp_hr, sharp_lr = render(PHOTO, recipe("real-esrgan"))
    raw_hr, raw_lr = render(PHOTO, drawn)
    assert np.array_equal(sharp_lr, raw_lr)
    assert cv2.Laplacian(sharp_hr, cv2.CV_64F).var() > 1.3 * cv2.Laplacian(raw_hr, cv2.CV_64F).var()


def test_rounding_saturates_and_goes_half_to_even():
    image = np.array([[[-3.0, 0.5, 1.5], [254.5, 255.5, 300.0]]], dtype=np.float32)
    assert to_uint8(image).tolist() == [[[0, 0, 2], [254, 255, 255]]]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(preset_names()),
    st.sampled_from([(1, 16), (2, 32), (3, 48), (4, 16), (4, 64), (4, 132)]),
    st.tuples(st.integers(0, 90), st.integers(0, 90)),
    st.integers(0, 2**40),
    st.sampled_from(["noise", "black", "white"]),
)
def test_every_size_scale_and_preset_gives_whole_pairs(preset, scales, extra, seed, kind):
    scale, hr_size = scales
    own = load_preset(preset).scale
    scale, hr_size = (scale, hr_size) if own is None else (own, hr_size // scale * own)
    size = (hr_size + extra[0], hr_size + extra[1])
    flat = {"black": 0, "white": 255}
    photo = (
        np.full((*size, 3), flat[kind], np.uint8)
        if kind in flat
        else np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    )
    drawn = sample_recipe(
        load_preset(preset), seed=seed, image=IMAGE, crop=0, image_size=size, hr_size=hr_size, scale=scale
    )
    hr, lr = render(photo, drawn)
    assert (hr.shape, hr.dtype) == ((hr_size, hr_size, 3), np.uint8)
    assert (lr.shape, lr.dtype) == ((hr_size // scale, hr_size // scale, 3), np.uint8)
    state = np.ascontiguousarray(photo).astype(np.float32)
    assert np.isfinite(drawn.steps[0].render(state)).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((512, 512), np.uint8), r"got uint8 \[512, 512\]"),
        (np.zeros((512, 512, 4), np.uint8), r"uint8 \[512, 512, 4\]"),
        (np.zeros((512, 512, 3), np.float32), "float32"),
        (np.zeros((512, 511, 3), np.uint8), "drawn for an image of 512 x 512 and got 511 x 512"),
        ([[1, 2, 3]], "got list"),
    ],
)
def test_other_images_are_refused(image, message):
    with pytest.raises(DegradeError, match=message):
        render(image, recipe("real-esrgan"))
