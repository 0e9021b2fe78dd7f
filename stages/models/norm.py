"""Group norm with what follows it in these networks: a FiLM and SiLU; on CPUs with a gradient written by hand.

torch's kernel for channels innermost is slow at gradients when a group has few channels. Here its forward pass is
followed by a FiLM and a SiLU that overwrite their input, which the backward pass computes again: of the whole chain
only x is kept.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from stages.models.eager import by_hand, gradients

SMALL: Final = 2**17
"""Numbers of a sample below which torch's kernels are the faster ones."""


class GroupNorm(nn.GroupNorm):
    """`forward(x [B, C, ...], scale, shift [B, C], activate, owned)`: silu(norm(x) * (1 + scale) + shift).

    `scale` and `shift` come together or not at all; SiLU is there with `activate`.
    """

    def forward(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None, *,
        activate: bool = False,
    ) -> Tensor:  # fmt: skip
        parts = (x, self.weight, self.bias, scale, shift)
        settings: dict[str, Any] = {"groups": self.num_groups, "eps": self.eps, "activate": activate}
        if x.dim() != 4 or not x.is_contiguous(memory_format=torch.channels_last) or not by_hand(x):
            return _plain(*parts, **settings)
        if not torch.is_grad_enabled() or not any(part is not None and part.requires_grad for part in parts):
            return _forward(*parts, **settings)[0]
        if x.numel() < SMALL * len(x):
            return _plain(*parts, **settings)
        out: Tensor = _Normed.apply(*parts, *settings.values())  # type: ignore[no-untyped-call]
        return out


def _plain(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None, *,
    groups: int, eps: float, activate: bool,
) -> Tensor:  # fmt: skip
    out = group_norm(x, groups, weight, bias, eps)
    if scale is not None and shift is not None:
        out = out * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    return silu(out) if activate else out


def _tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C], a view of x with channels innermost."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None,
    *, groups: int, eps: float, activate: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The answer, in one piece of memory, and of each group [B, groups]: mean, and one over the deviation."""
    batch, channels, height, width = x.shape
    out, mean, inverse = torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
    if scale is not None and shift is not None:
        torch.addcmul(shift[:, None], _tokens(out), (1 + scale)[:, None], out=_tokens(out))
    return silu(out, inplace=True) if activate else out, mean, inverse


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None,
        groups: int, eps: float, activate: bool,
    ) -> Tensor:  # fmt: skip
        settings: dict[str, Any] = {"groups": groups, "eps": eps, "activate": activate}
        out, mean, inverse = _forward(x, weight, bias, scale, shift, **settings)
        ctx.save_for_backward(x, weight, bias, scale, shift, mean, inverse)
        ctx.settings = settings
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *parts, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *gradients(partial(_plain, **ctx.settings), tuple(parts), gradient), None, None, None
        x, weight, bias, scale, shift = parts
        activate = ctx.settings["activate"]
        return *_backward(gradient, x, weight, bias, scale, shift, mean, inverse, activate), None, None, None


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None,
    mean: Tensor, inverse: Tensor, activate: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients of x, weight, bias, scale and shift. Numbers of a channel are [B, groups, channels of a group]."""
    (batch, channels), groups = x.shape[:2], mean.shape[1]
    mean, inverse = mean[:, :, None], inverse[:, :, None]
    film = None if scale is None else (1 + scale).view(batch, groups, -1)
    weight, bias = weight.view(groups, -1), bias.view(groups, -1)
    weighed = weight if film is None else weight * film
    factor = weighed * inverse
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    if activate:
        offset = bias if film is None or shift is None else torch.addcmul(shift.view_as(film), bias, film)
        _affine(x, factor, torch.addcmul(offset, mean, factor, value=-1), out)
        gradient = torch.ops.aten.silu_backward.grad_input(gradient, out, grad_input=out)
    centred, total = _sums(gradient, x, mean.expand_as(factor))
    numbers = x[0].numel() // groups
    along = (weighed * centred).sum(2, keepdim=True) * inverse**3 / numbers
    level = (weighed * total).sum(2, keepdim=True) * inverse / numbers
    _affine(gradient, factor, (mean * along - level).expand_as(factor), out)
    _tokens(out).addcmul_(_tokens(x), along.expand_as(factor).reshape(batch, 1, channels), value=-1)
    standard = centred * inverse
    if film is None:
        return out, standard.sum(0).flatten(), total.sum(0).flatten(), None, None
    dweight, dbias = (standard * film).sum(0), (total * film).sum(0)
    dscale = torch.addcmul(total * bias, standard, weight)
    return out, dweight.flatten(), dbias.flatten(), dscale.flatten(1), total.flatten(1)


def _affine(x: Tensor, factor: Tensor, offset: Tensor, out: Tensor) -> None:
    """out = x * factor + offset, by channel; out may be x."""
    rows = (len(x), 1, x.shape[1])
    torch.addcmul(offset.reshape(rows), _tokens(x), factor.reshape(rows), out=_tokens(out))


def _sums(gradient: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Over pixels, in the shape of `mean`: of gradient * (x - mean), and of the gradient.

    The backward pass of batch norm with fixed statistics has both, in one pass over the memory, one sample at a time.
    """
    one = torch.ones(x.shape[1], dtype=x.dtype)
    centres = mean.flatten(1).contiguous()  # the kernel reads them one behind the other, whatever their strides
    nothing_else = (False, 0.0, [False, True, True])
    found = [
        torch.ops.aten.native_batch_norm_backward(g, sample, None, centre, one, None, None, *nothing_else)[1:]
        for g, sample, centre in zip(torch.split(gradient, 1), torch.split(x, 1), centres, strict=True)
    ]
    centred, total = (torch.stack(part).view_as(mean) for part in zip(*found, strict=True))
    return centred, total
