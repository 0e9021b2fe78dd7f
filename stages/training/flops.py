"""What one sample of training costs in floating-point operations, counted where they happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from stages.models.flops import count
from stages.training.method import Batch, Phase


def training_flops(phases: Sequence[Phase], networks: Mapping[str, nn.Module], batch: Batch) -> float:
    """Operations of forward and backward passes of one whole step, per sample of a batch (2 for a multiply-add).

    Products and convolutions are counted, which is all that matters. It runs every phase's losses once on `batch`
    (a sample suffices): before networks are compiled or recompute, whose repeated work is no progress. Weights,
    gradients, which weights take one, and buffers are left as they were found.
    """
    kept = [(buffer, buffer.clone()) for network in networks.values() for buffer in network.buffers()]
    trained = [(weight, weight.requires_grad) for network in networks.values() for weight in network.parameters()]
    total = 0.0
    for phase in phases:
        operations = count(lambda losses: losses(batch)["loss"].backward(), (phase.losses,))
        total += phase.repeats * operations / len(batch)
    for network in networks.values():
        network.zero_grad(set_to_none=True)
    for weight, takes_gradient in trained:
        weight.requires_grad_(takes_gradient)
    for buffer, value in kept:
        buffer.copy_(value)
    return total / sum(phase.repeats for phase in phases)
