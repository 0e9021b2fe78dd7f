"""The Swin UNet: who may attend to whom, what it costs, and where it stops shifting."""

from __future__ import annotations

import pytest
import torch

from stages.models import windows
from stages.models.denoisers import build_denoiser
from stages.models.flops import count, flops, parameters
from stages.models.swin import SwinLayer, WindowAttention
from stages.models.swin_unet import SwinUNet
from stages.models.windows import allowed_pairs, cut_windows, reorder

TINY = {"size": 8, "width": 8, "multipliers": (1, 2), "blocks": 1, "swin_width": 8, "head_width": 4, "window": 4,
        "groups": 4}  # fmt: skip


def tiny(**changed) -> SwinUNet:
    network = SwinUNet(3, **{**TINY, **changed})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def original_places(height, width, window, shift):
    """For each window the original (row, column) of its tokens, by rolling the coordinates themselves."""
    for top in range(0, height, window):
        for left in range(0, width, window):
            yield [
                ((top + r + shift) % height, (left + c + shift) % width) for r in range(window) for c in range(window)
            ]


@pytest.mark.parametrize(
    ("height", "width", "window", "shift"), [(8, 8, 4, 2), (8, 16, 4, 2), (16, 8, 8, 4), (6, 4, 2, 1)]
)
def test_tokens_attend_to_each_other_where_they_lie_in_the_image_as_they_do_in_the_window(height, width, window, shift):
    allowed = allowed_pairs(height, width, window, shift)
    for i, places in enumerate(original_places(height, width, window, shift)):
        for a, (row, column) in enumerate(places):
            for b, (other_row, other_column) in enumerate(places):
                down, right = b // window - a // window, b % window - a % window
                together = (other_row - row, other_column - column) == (down, right)
                assert bool(allowed[i, a, b]) == together, (i, a, b)


def test_the_released_mask_differs_from_the_right_one_in_the_windows_at_the_edges_only():
    right, released = (allowed_pairs(64, 64, 8, 4, legacy) for legacy in (False, True))
    differs = (right != released).flatten(1).any(1).reshape(8, 8)
    assert int(differs.sum()) == 15
    assert differs[-1].all()
    assert differs[:, -1].all()
    assert released.reshape(8, 8, 64, 64)[:-1, -1].all()  # right-edge windows: nothing masked
    column = torch.arange(64) % 8 < 4
    assert torch.equal(released[-1], column[:, None] == column[None, :])  # bottom windows: split by column


def test_tokens_come_back_where_they_were_and_so_do_their_gradients():
    x = torch.randn(2, 3, 8, 12)
    cut = cut_windows(x, 4)
    assert torch.equal(cut[1], x[0, :, :4, 4:8].reshape(3, 16).T)
    tokens = x.flatten(2).transpose(1, 2).double().requires_grad_()
    shifted = reorder(tokens, (8, 12), 4, None, 2)
    assert torch.equal(shifted.float().reshape(-1, 16, 3), cut_windows(torch.roll(x, (-2, -2), (2, 3)), 4))
    assert torch.equal(reorder(reorder(shifted, (8, 12), 4, 2, 0), (8, 12), 4, 0, None), tokens)
    weights = torch.randn_like(shifted)
    (shifted * weights).sum().backward()
    assert torch.equal(tokens.grad, reorder(weights, (8, 12), 4, 2, None))
    one = tokens.detach()[:1, :, :1].requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: reorder(x, (8, 12), 4, 0, 2).square(), (one,), fast_mode=True)


@pytest.mark.parametrize("shift", [0, 2])
def test_window_attention_is_softmax_over_allowed_tokens_with_a_bias_by_offset(shift):
    """Token by token, from the definition."""
    attention = WindowAttention(6, heads=2, window=4, shift=shift, legacy_shift_mask=False).double()
    torch.nn.init.normal_(attention.bias)
    x = torch.randn(1, 6, 8, 8, dtype=torch.float64)
    tokens = reorder(x.flatten(2).transpose(1, 2), (8, 8), 4, None, shift)
    with torch.no_grad():  # a fused kernel
        fused = attention(tokens, (8, 8))
    out = attention(tokens, (8, 8))
    assert torch.allclose(fused, out)
    out = reorder(out, (8, 8), 4, shift, None).transpose(1, 2).reshape(x.shape)
    q, k, v = attention.qkv(x[0].permute(1, 2, 0)).split(6, -1)
    for row, column in ((0, 0), (1, 7), (5, 3), (7, 7)):
        top, left = (row - shift) % 8 // 4 * 4, (column - shift) % 8 // 4 * 4  # of its window, in the rolled image
        places = [((top + r + shift) % 8, (left + c + shift) % 8) for r in range(4) for c in range(4)]
        places = [(r, c) for r, c in places if abs(r - row) < 4 and abs(c - column) < 4]
        heads = []
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            scores = torch.stack([
                q[row, column, part] @ k[r, c, part] / 3**0.5
                + attention.bias[(row - r + 3) * 7 + (column - c + 3), head]
                for r, c in places
            ])  # fmt: skip
            heads.append(scores.softmax(0) @ torch.stack([v[r, c, part] for r, c in places]))
        assert torch.allclose(out[0, :, row, column], attention.out(torch.cat(heads)))


def test_full_size_costs_what_the_paper_s_network_costs():
    with torch.device("meta"):
        network = SwinUNet(3)
        inputs = (torch.empty(1, 3, 64, 64), torch.empty(1, 3, 64, 64), torch.zeros(1, dtype=torch.int64))
        assert parameters(network) == 118_593_583
        assert round(count(network, inputs) / 1e9, 1) == 101.3
        assert round(count(network.bottleneck, inputs) / 1e9, 1) == 32.0
        assert network.bottleneck(*inputs).shape == (1, 640, 8, 8)
        assert parameters(build_denoiser(3, 4, 2, {"kind": "swin"})) == 118_640_431  # x2: LR pixels at 128
        assert parameters(build_denoiser(8, 8, 1, {"kind": "swin"})) == 118_931_604  # faces: pixels at 512
        swin = [module for module in network.modules() if isinstance(module, SwinLayer)]
    shifts = [[block.attention.shift for block in layer.blocks] for layer in swin]
    assert shifts == [[0, 4]] * 3 + [[0, 0]] * 3 + [[0, 4]] * 3


def test_operations_are_two_for_each_multiplication_and_need_no_weights_moved():
    layer = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert flops(layer, (torch.empty(2, 3, 8, 8),)) == 2 * 2 * 8 * 8 * 5 * 3 * 9
    assert layer.weight.device.type == "cpu"
    assert parameters(layer) == 5 * 3 * 9 + 5
    layer.bias.requires_grad_(False)
    assert parameters(layer, trainable=True) == 5 * 3 * 9


def test_any_multiple_of_the_window_is_taken_and_masks_are_no_state():
    network = tiny()
    names = set(network.state_dict())
    windows._CACHE.clear()
    with torch.inference_mode():
        network(torch.randn(1, 3, 8, 16), torch.randn(1, 3, 8, 16), torch.tensor([3]))
    out = network(torch.randn(2, 3, 16, 8), torch.randn(2, 3, 16, 8), torch.tensor([0, 3]))
    out.sum().backward()
    assert out.shape == (2, 3, 16, 8)
    assert {key[:3] for key in windows._CACHE} >= {("penalty", 8, 16), ("penalty", 16, 8)}
    assert set(network.state_dict()) == names
    assert not list(network.buffers())


def test_the_legacy_mask_changes_the_answer():
    network = tiny()
    legacy = tiny(legacy_shift_mask=True)
    legacy.load_state_dict(network.state_dict())
    inputs = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8), torch.tensor([1])
    assert not torch.allclose(network(*inputs), legacy(*inputs), atol=1e-3)


def test_larger_lr_pixels_are_brought_down_by_the_network():
    network = build_denoiser(3, factor=4, scale=1, network={"kind": "swin", **TINY})
    assert network.condition_factor == 4
    out = network(torch.randn(1, 3, 8, 8), torch.randn(1, 3, 32, 32), torch.tensor([1]))
    assert out.shape == (1, 3, 8, 8)


def test_a_size_without_whole_windows_is_refused():
    with pytest.raises(ValueError, match=r"size: expected a multiple of 8, .* windows of 4; got 12"):
        SwinUNet(3, **{**TINY, "size": 12})
    with pytest.raises(ValueError, match="expected unet or swin, got 'vit'"):
        build_denoiser(3, 4, 4, {"kind": "vit"})
