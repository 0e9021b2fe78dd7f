"""Tiles: what they cover, what they count for, and that a local network does not notice them."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from stages.sampling.tiles import Tiling, spans, windows


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 90), st.integers(1, 30), st.integers(0, 29))
def test_spans_cover_an_axis_in_order_and_windows_sum_to_one(size, tile, overlap):
    overlap = min(overlap, tile - 1)
    parts = spans(size, tile, overlap)
    assert (parts[0].start, parts[-1].stop) == (0, size)
    for one, following in itertools.pairwise(parts):
        assert one.start < following.start <= one.stop - overlap
        assert one.stop - one.start == following.stop - following.start == tile
    total = torch.zeros(size, dtype=torch.float64)
    for span, weight in zip(parts, windows(parts, overlap), strict=True):
        assert ((weight >= 0) & (weight <= 1)).all()
        total[span.start : span.stop] += weight
    assert torch.allclose(total, torch.ones(size, dtype=torch.float64), atol=1e-12)


def test_a_window_ignores_the_outer_quarter_of_an_overlap_and_has_no_step():
    left, right = windows(spans(48, 32, 16), 16)
    assert left[16:].tolist() == pytest.approx((1 - right[:16]).tolist())
    assert not left[-4:].any()
    assert (left[:20] == 1).all()
    assert left.diff().abs().max() < 0.2  # the steepest of a squared sine over 8 pixels


def test_tiles_start_and_end_on_multiples_of_the_network():
    tiling = Tiling.plan(192, 320, 64, tile=100, overlap=10)
    assert tiling.overlap == 64
    ends = {end for tile in tiling for part in (tile.rows, tile.columns) for end in (part.start, part.stop)}
    assert all(end % 64 == 0 for end in ends)
    assert {tile.rows.stop - tile.rows.start for tile in tiling} == {128}
    with pytest.raises(ValueError, match=r"takes multiples of 64 pixels, which makes 64 and 64.*a tile of 128"):
        Tiling.plan(192, 320, 64, tile=64, overlap=10)


@pytest.mark.parametrize(("up", "down"), [(1, 1), (4, 1), (1, 2)])
def test_a_local_answer_is_that_of_the_whole_image_at_any_density(up, down):
    """A 5x5 filter sees two pixels around: less than a quarter of the overlap."""
    image, kernel = torch.randn(1, 1, 40, 56), torch.randn(1, 1, 5, 5)

    def answer(part: torch.Tensor) -> torch.Tensor:
        out = conv2d(part, kernel, padding=2)
        return interpolate(out, scale_factor=float(up)) if down == 1 else avg_pool2d(out, down)

    tiling = Tiling.plan(40, 56, 4, tile=24, overlap=12)
    assert len(tiling) == 12
    assert torch.allclose(tiling.blend(lambda tile: answer(tile.of(image))), answer(image), atol=1e-5)


def test_one_tile_is_the_plain_answer():
    image = torch.randn(1, 3, 8, 8)
    assert Tiling.plan(8, 8, 4, tile=None, overlap=4).blend(lambda tile: tile.of(image) * 2).equal(image * 2)
    assert len(Tiling.plan(8, 8, 4, tile=16, overlap=4)) == 1
