"""What can be compiled is traced without a break and gives the same numbers (no compiler is needed to see that)."""

from __future__ import annotations

import pytest
import torch

from degrade.batched import fused
from degrade.batched.philox import blocks_of, constants
from degrade.batched.weights import matrices

CPU = torch.device("cpu")


@pytest.fixture
def traced(monkeypatch):
    """torch.compile with a backend that traces and runs the graph as it is, and that refuses to break it."""
    compile_ = torch.compile
    monkeypatch.setattr(
        fused.torch,
        "compile",
        lambda function, **options: compile_(function, fullgraph=True, backend="eager", **options),
    )


@pytest.mark.ci  # the tracer alone takes 10 seconds to import
def test_compiled_functions_give_the_same_numbers_for_sizes_that_change(traced):
    words = fused.fusable(blocks_of.__wrapped__)
    lines = fused.fusable(matrices.__wrapped__)
    generator = torch.Generator().manual_seed(0)
    for count, blocks in ((2, 5), (3, 8), (4, 8)):
        keys = torch.randint(-(2**63), 2**63 - 1, (count, 2), generator=generator)
        plain = words(keys, constants(CPU), blocks)
        with fused.fusing(True):
            assert torch.equal(words(keys, constants(CPU), blocks), plain)
    for rule in ("area", "cubic", "linear", "stretch"):
        for sides in ((40.0, 17.0), (86.0, 102.0)):
            source, target = (torch.tensor([[side], [side + 3]], dtype=torch.float64) for side in sides)
            shape = (int(sides[1]) + 3, int(sides[0]) + 3)
            plain = lines(rule, source, target, shape)
            with fused.fusing(True):
                assert torch.equal(lines(rule, source, target, shape), plain)
