"""What a network costs: parameters, and floating-point operations of a forward pass, counted without computing.

Counted are matrix products, convolutions and attention, a multiplication and an addition as two operations.
Not counted: norms, activations, softmax, resampling, and everything else that costs one operation an element.
A backward pass costs about twice the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module, trainable: bool = False) -> int:
    """Numbers in the parameters of `module`, each counted once; only those that are trained, if asked."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def count(call: Callable[..., Any], inputs: Sequence[Any]) -> int:
    """Operations of ``call(*inputs)``, which is executed, backward passes in it included.

    On the meta device that costs nothing.
    """
    with FlopCounterMode(display=False) as counter:
        call(*inputs)
    return int(counter.get_total_flops())


def flops(module: nn.Module, inputs: Sequence[Any]) -> int:
    """Operations of ``module(*inputs)`` for all samples of `inputs`; nothing is computed on any device.

    The module may live anywhere and stays as it is; of tensors among the inputs only shape and type matter.
    """
    state: dict[str, Tensor] = dict(module.named_parameters())
    state |= dict(module.named_buffers())
    shadow = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    shapes = [torch.empty_like(x, device="meta") if isinstance(x, Tensor) else x for x in inputs]
    with torch.no_grad():
        return count(lambda *args: functional_call(module, shadow, args), shapes)
