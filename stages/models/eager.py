"""Where gradients written by hand replace those that autograd would put together: eager float32 on a CPU.

Elsewhere the plain formula runs: accelerators have kernels of their own, `torch.compile` fuses by itself, exporters
want the operators, and under autocast torch decides on types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

CACHE_NUMBERS: Final = 2**17
"""Numbers of an intermediate that are worked on at a time: 512 KiB in float32; two of them stay in a cache."""


def by_hand(x: Tensor) -> bool:
    """Whether x is of this kind. float64 is too, for comparisons."""
    return (
        x.device.type == "cpu"
        and type(x) in (Tensor, torch.nn.Parameter)  # nothing imagined, nothing traced
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.is_autocast_enabled("cpu")
    )


def gradients(plain: Callable[..., Tensor], inputs: tuple[Tensor | None, ...], gradient: Tensor) -> list[Tensor | None]:
    """Gradients of `plain(*inputs)` that have gradients themselves, for a backward pass under `create_graph`."""
    wanted = [x for x in inputs if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(plain(*inputs), wanted, gradient, create_graph=True))
    return [next(found) if x is not None and x.requires_grad else None for x in inputs]
