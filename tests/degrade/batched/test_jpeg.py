"""The batched JPEG is libjpeg-turbo's to the bit, and differentiable when asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from degrade import codecs
from degrade.batched.jpeg import jpeg, quantisation_tables

PHOTO = data.astronaut()


def tensor(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2)


def picture(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "photograph":
        y, x = random.integers(0, 512 - height), random.integers(0, 512 - width)
        return PHOTO[y : y + height, x : x + width].astype(np.float32)
    if kind == "noise":
        return random.uniform(-20, 275, (height, width, 3)).astype(np.float32)
    return random.integers(0, 2, (height, width, 3)).astype(np.float32) * 255


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["photograph", "noise", "black and white"]),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(1, 100),
    st.integers(0, 2**32),
)
def test_every_quality_and_size_is_opencvs_round_trip(kind, size, quality, seed):
    image = picture(kind, *size, seed)
    expected = codecs.jpeg(image.copy(), quality)
    result = jpeg(tensor(image), torch.tensor([quality]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(result, expected)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 100)), min_size=2, max_size=5),
    st.integers(0, 2**32),
)
def test_images_of_any_sizes_and_qualities_share_a_canvas(cases, seed):
    images = [picture("photograph", height, width, seed + row) for row, (height, width, _) in enumerate(cases)]
    canvas = torch.full((len(cases), 3, 45, 51), 200.0)  # what lies beyond an image must not leak into it
    for row, image in enumerate(images):
        canvas[row, :, : image.shape[0], : image.shape[1]] = tensor(image)[0]
    sizes = [(height, width) for height, width, _ in cases]
    result = jpeg(canvas, torch.tensor([quality for *_, quality in cases]), sizes=sizes)
    for row, (image, (height, width, quality)) in enumerate(zip(images, cases, strict=True)):
        expected = codecs.jpeg(image.copy(), quality)
        assert np.array_equal(result[row, :, :height, :width].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
def test_gradients_pass_straight_through_every_rounding(quality):
    image = tensor(PHOTO[100:133, 200:247], PHOTO[200:233, 100:147]).requires_grad_()
    result = jpeg(image, torch.tensor([quality, 100]), straight_through=True)
    assert torch.equal(result.detach(), jpeg(image.detach(), torch.tensor([quality, 100])))
    (result - 100.0).square().mean().backward()
    assert torch.isfinite(image.grad).all()
    assert (image.grad.flatten(1).abs().amax(1) > 0).all()


def test_at_quality_100_the_gradient_is_nearly_the_identitys():
    image = tensor(PHOTO[100:132, 200:232]).requires_grad_()
    direction = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(1, 3, 32, 32)  # luma
    (jpeg(image, torch.tensor([100]), straight_through=True) * direction).sum().backward()
    cosine = torch.nn.functional.cosine_similarity(image.grad.sum(1).flatten(), direction[:, 0].flatten(), dim=0)
    assert cosine > 0.95


def test_without_it_nothing_passes_and_nothing_given_is_changed():
    image, quality = tensor(PHOTO[:32, :32]).requires_grad_(), torch.tensor([40])
    before = image.detach().clone()
    jpeg(image, quality).sum().backward()
    assert torch.equal(image.grad, torch.zeros_like(image))
    assert torch.equal(image.detach(), before)
    assert quality.tolist() == [40]


def test_tables_first_used_in_inference_mode_serve_training_too():
    import degrade.batched.chroma as chroma
    import degrade.batched.dct as dct

    for table in (chroma._to_ycc, dct._forward_matrices, dct._inverse_matrices):
        table.cache_clear()
    with torch.inference_mode():
        jpeg(tensor(PHOTO[:16, :16]), torch.tensor([50]))
    image = tensor(PHOTO[:16, :16]).requires_grad_()
    jpeg(image, torch.tensor([50]), straight_through=True).sum().backward()
    assert image.grad is not None


def test_tables_are_libjpegs():
    """Quality 50 is Annex K; 1 saturates at 255 and 100 is all ones."""
    tables = quantisation_tables(torch.tensor([1, 50, 100]))
    assert tables[1, 0, :, 0].tolist() == [16, 11, 10, 16, 24, 40, 51, 61]  # transposed: the first row of luma
    assert (tables[0] == 255).all()
    assert (tables[2] == 1).all()


@pytest.mark.parametrize("new", [False, True])
def test_a_training_loops_precision_does_not_reach_it_and_is_left_as_it_was(new):
    """However it was said: torch has an old and a new way, and a process may use one of them."""
    image, quality = tensor(PHOTO[:64, :64]), torch.tensor([80])
    expected = jpeg(image, quality)
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    try:
        if new:
            backends[0].fp32_precision, backends[1].fp32_precision = "tf32", "bf16"
        else:
            torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(jpeg(image, quality), expected)
        assert [backend.fp32_precision for backend in backends] == ["tf32", "bf16"]
        if not new:
            assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
