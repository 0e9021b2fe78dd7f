"""Metrics against basicsr's own functions and against facts that can be worked out on paper."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.metrics.fidelity import PSNR_LIMIT, measure, y_full, y_limited
from tests.support.textures import textures


class _Registry:
    def register(self):
        return lambda function: function


@pytest.fixture(scope="module")
def reference():
    """basicsr's calculate_psnr and calculate_ssim from their files: importing the package needs torchvision."""
    root = Path(importlib.util.find_spec("basicsr").submodule_search_locations[0])
    modules = {name: ModuleType(name) for name in ("basicsr", "basicsr.metrics", "basicsr.utils")}
    modules["basicsr.utils.registry"] = ModuleType("basicsr.utils.registry")
    modules["basicsr.utils.registry"].METRIC_REGISTRY = _Registry()
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        colour = _from_file(patch, "basicsr.utils.color_util", root / "utils" / "color_util.py")
        modules["basicsr.utils"].bgr2ycbcr = colour.bgr2ycbcr
        _from_file(patch, "basicsr.metrics.metric_util", root / "metrics" / "metric_util.py")
        yield _from_file(patch, "basicsr.metrics.psnr_ssim", root / "metrics" / "psnr_ssim.py")


def _from_file(patch, name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def images(seed: int, shape: tuple[int, int] = (48, 40), noise: float = 12.0):
    rng = np.random.default_rng(seed)
    hr = textures(1, max(shape), seed)[0][: shape[0], : shape[1]]
    sr = np.clip(np.rint(hr + rng.normal(0, noise, hr.shape)), 0, 255).astype(np.uint8)
    return sr, hr


@pytest.mark.parametrize("border", [0, 4])
@pytest.mark.parametrize(("space", "luma"), [("y", True), ("rgb", False)])
def test_psnr_and_ssim_are_basicsrs(reference, border, space, luma):
    for seed in range(6):
        sr, hr = images(seed)
        bgr = sr[..., ::-1], hr[..., ::-1]
        psnr = reference.calculate_psnr(*bgr, crop_border=border, test_y_channel=luma)
        ssim = reference.calculate_ssim(*bgr, crop_border=border, test_y_channel=luma)
        assert measure(f"psnr_{space}", sr, hr, border) == pytest.approx(psnr, abs=1e-4)
        assert measure(f"ssim_{space}", sr, hr, border) == pytest.approx(ssim, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(3, 40))
def test_limited_range_luma_reads_1_32_db_higher(seed, noise):
    sr, hr = images(seed, noise=noise)
    difference = measure("psnr_y", sr, hr, 0) - measure("psnr_y_full", sr, hr, 0)
    assert difference == pytest.approx(20 * math.log10(255 / 219), abs=2e-3)
    assert difference == pytest.approx(1.32, abs=0.005)


def test_luma_of_black_and_white():
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert y_limited(ends).ravel() == pytest.approx([16, 235], abs=0.01)
    assert y_full(ends).ravel() == pytest.approx([0, 255])


def test_psnr_of_a_known_error_and_of_none():
    hr = np.full((16, 16, 3), 100, np.uint8)
    assert measure("psnr_rgb", hr + np.uint8(5), hr, 0) == pytest.approx(10 * math.log10(255**2 / 25))
    assert measure("psnr_rgb", hr, hr, 0) == PSNR_LIMIT
    assert measure("ssim_y", hr, hr, 0) == pytest.approx(1.0)


def test_the_border_is_cut_from_every_side():
    hr = np.zeros((20, 20, 3), np.uint8)
    sr = hr.copy()
    sr[:4], sr[-4:], sr[:, :4], sr[:, -4:] = 255, 255, 255, 255
    assert measure("psnr_y", sr, hr, 4) == PSNR_LIMIT
    assert measure("psnr_y", sr, hr, 3) < 20


def test_sizes_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="at least 11x11 pixels after cropping, got 8x8"):
        measure("ssim_y", np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), 4)
    with pytest.raises(ValueError, match="images of one size"):
        measure("psnr_y", np.zeros((16, 16, 3), np.uint8), np.zeros((12, 16, 3), np.uint8), 0)
