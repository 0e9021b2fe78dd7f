"""How a network is run, not what it computes: memory layout, recomputation, compilation. By config, for any method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipelines.stage import StageError
from stages.training.config import TrainConfig


def prepare(network: nn.Module, config: TrainConfig) -> None:
    """Apply `channels_last`, `recompute` and `compile` in place; names in the state dict stay as they are.

    Modules whose class states ``recomputes = True`` (the blocks of a network) run again in the backward pass.
    Of a network whose own `forward` is not what is trained, its direct children with weights are compiled.
    Raises StageError when recompute is asked of a network without such blocks.
    """
    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.recompute:
        _recompute(network)
    if config.compile:
        for module in _compiled(network):
            module.compile(dynamic=False)


def _recompute(network: nn.Module) -> None:
    blocks = [module for module in network.modules() if getattr(type(module), "recomputes", False)]
    if not blocks:
        raise StageError(
            f"recompute: {type(network).__name__} has no blocks that can run again in the backward pass "
            "(modules whose class states `recomputes = True`); leave recompute out"
        )
    for block in blocks:
        if "forward" not in vars(block):
            block.forward = partial(_checkpointed, block.forward)


def _checkpointed(forward: Callable[..., Any], *inputs: Any) -> Any:
    return checkpoint(forward, *inputs, use_reentrant=False) if torch.is_grad_enabled() else forward(*inputs)


def _compiled(network: nn.Module) -> list[nn.Module]:
    if type(network).forward is not nn.Module.forward:
        return [network]
    return [child for child in network.children() if next(child.parameters(), None) is not None]
