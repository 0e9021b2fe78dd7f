"""Gradients written by hand beside those of autograd: group norm with what follows it, and attention under a bias."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import group_norm, silu
from torch.utils.checkpoint import checkpoint

from stages.models import biased_attention, norm
from stages.models.biased_attention import BiasedAttention
from stages.models.eager import by_hand
from stages.models.norm import GroupNorm
from stages.models.windows import shift_penalty


def formula(x, layer, film, activate):
    out = group_norm(x, layer.num_groups, layer.weight.to(x), layer.bias.to(x), layer.eps)
    if film:
        out = out * (1 + film[0].to(x)[:, :, None, None]) + film[1].to(x)[:, :, None, None]
    return silu(out) if activate else out


def off(found, expected):
    return float((found.double() - expected.double()).detach().norm() / expected.double().detach().norm())


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(norm, "SMALL", 0)
    monkeypatch.setattr(biased_attention, "CACHE_NUMBERS", 5 * 16**2)


@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("with_film", [False, True])
@pytest.mark.parametrize("groups", [1, 4, 12])
def test_the_norm_and_all_its_gradients_are_as_exact_as_torch_s_own(groups, with_film, activate):
    layer = GroupNorm(groups, 12, eps=1e-6)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = (3 + torch.randn(3, 12, 10, 14)).contiguous(memory_format=torch.channels_last).requires_grad_()
    film = [torch.randn(3, 12, requires_grad=True) for _ in range(2 * with_film)]
    inputs, weights = [x, layer.weight, layer.bias, *film], torch.randn(3, 12, 10, 14)
    out = layer(x, *film, activate=activate)
    assert out.is_contiguous(memory_format=torch.channels_last)
    exact = formula(x.double(), layer, film, activate)
    found = [out, *torch.autograd.grad(out, inputs, weights)]
    expected = [exact, *torch.autograd.grad(exact, inputs, weights.double())]
    plain = formula(x, layer, film, activate)
    of_torch = [plain, *torch.autograd.grad(plain, inputs, weights)]
    for one, other, right in zip(found, of_torch, expected, strict=True):
        assert off(one, right) < max(1e-6, 1.5 * off(other, right))
    with torch.no_grad():
        assert torch.equal(layer(x, *film, activate=activate), out)


def test_the_norm_has_second_gradients_and_runs_again_when_recomputed():
    layer = GroupNorm(2, 4).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    film = [torch.randn(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def run(x, *film):
        return layer(x.contiguous(memory_format=torch.channels_last), *film, activate=True)

    assert torch.autograd.gradcheck(run, (x, *film), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, *film), fast_mode=True)
    straight = torch.autograd.grad(run(x, *film).square().sum(), (x, *film))
    again = torch.autograd.grad(checkpoint(run, x, *film, use_reentrant=False).square().sum(), (x, *film))
    assert all(map(torch.equal, straight, again))


@pytest.mark.parametrize(("side", "shift"), [(8, 2), (16, 2), (8, 0)])
def test_attention_under_a_bias_has_the_gradients_of_its_formula(side, shift):
    """Windows of 4x4: four an image fit into a piece together, sixteen do not; without a shift images do not matter."""
    windows = (side // 4) ** 2
    penalty = shift_penalty(side, side, 4, shift, False, torch.device("cpu")) if shift else None
    qkv = torch.randn(3 * windows, 16, 18, dtype=torch.float64, requires_grad=True)
    table = torch.randn(2, 16, 16, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3 * windows, 16, 6, dtype=torch.float64)
    q, k, v = qkv.unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
    scores = torch.einsum("whqc,whkc->whqk", q, k) / 3**0.5 + table
    if penalty is not None:
        scores = scores + penalty.repeat(3, 1, 1, 1)
    expected = torch.einsum("whqk,whkc->wqhc", scores.softmax(-1), v).flatten(2)
    found = BiasedAttention.apply(qkv, table, penalty)
    assert torch.allclose(found, expected)
    for one, other in zip(*(torch.autograd.grad(out, (qkv, table), weights) for out in (found, expected)), strict=True):
        assert torch.allclose(one, other)


def test_attention_under_a_bias_has_second_gradients():
    penalty = shift_penalty(4, 4, 2, 1, False, torch.device("cpu"))
    inputs = torch.randn(4, 4, 6, dtype=torch.float64), torch.randn(1, 4, 4, dtype=torch.float64)
    qkv, table = (tensor.requires_grad_() for tensor in inputs)
    assert torch.autograd.gradgradcheck(lambda *xs: BiasedAttention.apply(*xs, penalty), (qkv, table), fast_mode=True)


def test_autocast_halves_and_what_is_imagined_keep_torch_s_own_kernels():
    x = torch.randn(1, 4, 4, 4)
    assert by_hand(x)
    assert not by_hand(x.bfloat16())
    assert not by_hand(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not by_hand(x)
    with FakeTensorMode():
        assert not by_hand(torch.empty(1, 4, 4, 4))
