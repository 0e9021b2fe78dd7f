"""Attention inside windows under a learnt bias, with a gradient written by hand: for eager CPUs.

No fused kernel there has a gradient for the bias. Scores, the largest intermediate of a block, are worked on a piece at
a time that fits a processor's cache. None are kept: the backward pass computes them again, which costs less than to
write them to memory and read them back. The order of all sums is fixed by the shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stages.models.eager import CACHE_NUMBERS, gradients


def _plain(qkv: Tensor, table: Tensor, penalty: Tensor | None) -> Tensor:
    """What :class:`BiasedAttention` computes, by the formula."""
    count, length, channels = qkv.shape
    heads = len(table)
    q, k, v = qkv.view(count, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) * (channels // (3 * heads)) ** -0.5 + table
    if penalty is not None:
        scores = (scores.view(-1, len(penalty), *scores.shape[1:]) + penalty).view_as(scores)
    out: Tensor = (scores.softmax(-1) @ v).transpose(1, 2).reshape(count, length, -1)
    return out


class BiasedAttention(torch.autograd.Function):
    """`BiasedAttention.apply(qkv [B * W, N, 3C], table [heads, N, N], penalty [W, 1, N, N] or None)` -> [B * W, N, C].

    softmax(q k^T / sqrt(width of a head) + table + penalty) v in each of W windows of B images; `penalty` has no
    gradient. Heads one by one are products of slices as they lie: nothing is copied.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, table: Tensor, penalty: Tensor | None) -> Tensor:
        ctx.save_for_backward(qkv, table, penalty)
        (count, length, channels), heads = qkv.shape, len(table)
        width = channels // (3 * heads)
        out = qkv.new_empty(count, length, channels // 3)
        room = qkv.new_empty(_at_once(length), length, length)
        for start, stop, masked in _windows(count, len(room), penalty):
            parts, weights = torch.split(qkv[start:stop], width, -1), room[: stop - start]
            for head, result in enumerate(torch.split(out[start:stop], width, -1)):
                _weights(parts[head], parts[heads + head], table[head], masked, weights)
                torch.bmm(weights, parts[2 * heads + head], out=result)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        qkv, table, penalty = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(gradients(_plain, (qkv, table, penalty), gradient))
        (count, length, channels), heads = qkv.shape, len(table)
        width = channels // (3 * heads)
        dqkv, dtable = torch.empty_like(qkv), torch.zeros_like(table)
        rooms = qkv.new_empty(2, _at_once(length), length, length)
        for start, stop, masked in _windows(count, rooms.shape[1], penalty):
            weights, slopes = rooms[:, : stop - start]
            parts, found = torch.split(qkv[start:stop], width, -1), torch.split(dqkv[start:stop], width, -1)
            for head, up in enumerate(torch.split(gradient[start:stop], width, -1)):
                at_q, at_k, at_v = head, heads + head, 2 * heads + head
                _weights(parts[at_q], parts[at_k], table[head], masked, weights)
                torch.bmm(weights.transpose(1, 2), up, out=found[at_v])
                torch.bmm(up, parts[at_v].transpose(1, 2), out=slopes)
                torch.ops.aten._softmax_backward_data.out(slopes, weights, -1, slopes.dtype, grad_input=slopes)
                dtable[head] += slopes.sum(0)
                slopes *= width**-0.5
                torch.bmm(slopes, parts[at_k], out=found[at_q])
                torch.bmm(slopes.transpose(1, 2), parts[at_q], out=found[at_k])
        return dqkv, dtable, None


def _at_once(length: int) -> int:
    """Windows of so many tokens whose scores are a piece."""
    return max(1, CACHE_NUMBERS // length**2)


def _windows(count: int, at_once: int, penalty: Tensor | None) -> Iterator[tuple[int, int, Tensor | None]]:
    """(first, one behind the last, their penalties [windows, N, N]) of each piece: whole images or parts of one."""
    if penalty is None:
        for start in range(0, count, at_once):
            yield start, min(start + at_once, count), None
        return
    windows = len(penalty)
    if windows <= at_once:
        step = at_once // windows * windows
        for start in range(0, count, step):
            yield start, min(start + step, count), penalty[:, 0]
        return
    for image in range(0, count, windows):
        for start in range(0, windows, at_once):
            part = penalty[start : start + at_once, 0]
            yield image + start, image + start + len(part), part


def _weights(q: Tensor, k: Tensor, table: Tensor, penalty: Tensor | None, out: Tensor) -> None:
    """softmax(q k^T / sqrt(width) + table + penalty) of windows [n, N, width] into `out` [n, N, N]."""
    if penalty is None:
        out.copy_(table)
    else:
        out.view(-1, *penalty.shape).copy_(penalty).add_(table)
    torch.baddbmm(out, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5, out=out)
    torch.softmax(out, -1, out=out)
