"""Resizing by matrices, blur by Fourier transform: OpenCV's results for images of any sizes on one canvas."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from degrade import filters, kernels
from degrade.batched.canvas import Canvas, grouped, regrouped
from degrade.batched.convolve import convolve, fast_length
from degrade.batched.resample import resample
from degrade.batched.schedule import rounds
from degrade.operators.resize import ResizeDraw

SIDE = st.integers(1, 90)
CASE = st.tuples(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["area", "linear", "cubic"]))


def on_canvas(images: list[np.ndarray]) -> Canvas:
    """What lies beyond an image is far from anything inside."""
    sizes = tuple((image.shape[0], image.shape[1]) for image in images)
    pixels = torch.full((len(images), 3, max(h for h, _ in sizes), max(w for _, w in sizes)), 1e4)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[0], : image.shape[1]] = torch.from_numpy(image).permute(2, 0, 1)
    return Canvas(pixels, sizes, tuple(range(len(images))))


def image_of(canvas: Canvas, row: int) -> np.ndarray:
    height, width = canvas.sizes[row]
    return canvas.pixels[row, :, :height, :width].permute(1, 2, 0).numpy()


@settings(max_examples=100, deadline=None)
@given(st.lists(CASE, min_size=1, max_size=4), st.integers(0, 2**32))
@example([(3, 86, 3, 102, "area")], 0)  # an output that starts at a pixel's edge but for the last bit
def test_every_size_and_mode_is_opencvs_resize(cases, seed):
    random = np.random.default_rng(seed)
    images = [random.uniform(0, 255, (height, width, 3)).astype(np.float32) for height, width, *_ in cases]
    draws = [
        ResizeDraw(id="r", direction="keep", factor=1.0, mode=mode, height=height, width=width)
        for *_, height, width, mode in cases
    ]
    result = resample(on_canvas(images), draws)
    for row, (image, draw) in enumerate(zip(images, draws, strict=True)):
        expected = filters.resize(image, (draw.height, draw.width), draw.mode).reshape(draw.height, draw.width, 3)
        assert np.abs(image_of(result, row) - expected).max() < 5e-3


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.sampled_from([3, 9, 21])), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_blur_meets_the_mirrored_image_at_its_own_borders(cases, seed):
    """Images smaller than the kernel's reach are mirrored as often as it takes."""
    random = np.random.default_rng(seed)
    images = [random.uniform(0, 255, (height, width, 3)).astype(np.float32) for height, width, _ in cases]
    weights = [kernels.gaussian(size, 2.0, 0.7, 0.6) for *_, size in cases]
    padded = np.stack([np.pad(kernel, (21 - len(kernel)) // 2) for kernel in weights])
    result = convolve(on_canvas(images), torch.from_numpy(padded))
    for row, (image, kernel) in enumerate(zip(images, weights, strict=True)):
        expected = cv2.filter2D(image.astype(np.float64), cv2.CV_64F, kernel, borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(image_of(result, row) - expected.reshape(image.shape)).max() < 1e-3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=7), st.integers(1, 20000))
def test_groups_are_the_cheapest_cuts_of_the_sorted_sizes(sizes, launch):
    def cost(groups: tuple[tuple[int, ...], ...]) -> int:
        return sum(
            launch + len(group) * max(sizes[i][0] for i in group) * max(sizes[i][1] for i in group) for group in groups
        )

    groups = grouped(tuple(sizes), launch)
    assert sorted(place for group in groups for place in group) == list(range(len(sizes)))
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i][0] * sizes[i][1], sizes[i], i))
    options = []
    for mask in range(2 ** (len(sizes) - 1)):
        cuts = [k + 1 for k in range(len(sizes) - 1) if mask >> k & 1]
        bounds = zip([0, *cuts], [*cuts, len(sizes)], strict=True)
        options.append(cost(tuple(tuple(order[a:b]) for a, b in bounds)))
    assert cost(groups) == min(options)


def test_regrouping_takes_samples_from_several_canvases_and_copies_nothing_that_is_there():
    first = Canvas(torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 3, 4, 4).clone(), ((4, 4), (2, 3)), (0, 1))
    second = Canvas(torch.full((1, 3, 5, 2), 7.0), ((5, 2),), (2,))
    mixed = regrouped([first, second], (2, 1))
    assert mixed.pixels.shape == (2, 3, 5, 3)
    assert mixed.sizes == ((5, 2), (2, 3))
    assert (mixed.pixels[0, :, :5, :2] == 7).all()
    assert (mixed.pixels[1, :, :2, :3] == 1).all()
    assert regrouped([first, second], (0, 1)).pixels.data_ptr() == first.pixels.data_ptr()


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=6), max_size=5))
def test_rounds_take_every_sample_through_its_own_steps(sequences):
    seen: list[list[str]] = [[] for _ in sequences]
    for kind, samples in rounds(sequences):
        for sample in samples:
            seen[sample].append(kind)
    assert seen == sequences


def test_samples_that_skip_a_step_meet_the_others_again():
    assert [kind for kind, _ in rounds(["abcd", "acd", "abd"])] == ["a", "b", "c", "d"]


def test_fast_lengths_are_even_and_have_small_factors():
    assert [fast_length(length) for length in (1, 11, 13, 97, 654)] == [2, 12, 14, 98, 672]
