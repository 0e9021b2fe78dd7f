"""Random words and fields on tensors: the streams of the CPU engine, for every sample its own."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade import noise, philox
from degrade.batched.canvas import Canvas
from degrade.batched.fields import fields
from degrade.batched.noise import noise as add_noise
from degrade.batched.philox import _halves, blocks_of, constants, words
from degrade.operators.noise import GaussianDraw

KEYS = st.integers(0, 2**128 - 1).map(lambda value: f"{value:032x}")


@settings(max_examples=30, deadline=None)
@given(st.lists(KEYS, min_size=1, max_size=4), st.integers(1, 70))
def test_words_in_torch_integers_are_numpys(keys, count):
    """The path for CUDA, run on the CPU, and the CPU's own."""
    expected = np.stack([philox.words(key, count) for key in keys]).view(np.int64)
    numbers = constants(torch.device("cpu"))
    blocks = blocks_of(torch.tensor([_halves(key) for key in keys]), numbers, -(-count // 4))
    assert np.array_equal(blocks[:, :count].numpy(), expected)
    assert np.array_equal(words(keys, count, torch.device("cpu")).numpy(), expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(KEYS, st.booleans(), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
def test_fields_are_those_of_the_cpu_engine_whatever_shares_the_canvas(cases):
    sizes = tuple((height, width) for *_, height, width in cases)
    canvas = Canvas(torch.zeros(len(cases), 3, 9, 10), sizes, tuple(range(len(cases))))
    values = fields([key for key, *_ in cases], [gray for _, gray, *_ in cases], canvas)
    for row, (key, gray, height, width) in enumerate(cases):
        expected = noise.bits(key, (height, width) if gray else (height, width, 3))
        expected = np.repeat(expected[..., None], 3, axis=2) if gray else expected
        assert np.array_equal(values[row, :, :height, :width].permute(1, 2, 0).numpy(), expected)


def test_gray_noise_differs_from_sample_to_sample():
    """Where the reference adds one pattern to the whole batch."""
    keys = [philox.stream_key(1, "ab" * 32, crop, "gaussian1/field") for crop in range(4)]
    draws = [GaussianDraw(id="gaussian1", gray=True, sigma=10.0, noise_key=key) for key in keys]
    canvas = Canvas(torch.full((4, 3, 64, 64), 128.0), ((64, 64),) * 4, (0, 1, 2, 3))
    added = add_noise(canvas, draws).pixels - 128.0
    assert torch.equal(added[:, 0], added[:, 2])
    correlation = np.corrcoef(added[:, 0].flatten(1).numpy())
    assert np.abs(correlation - np.eye(4)).max() < 0.06
