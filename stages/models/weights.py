"""Weights that leave a stage: safetensors with sorted names and no metadata, so equal weights are equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors as contiguous CPU copies, in name order."""
    from safetensors.torch import save

    path.write_bytes(save({name: state[name].detach().cpu().contiguous() for name in sorted(state)}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)
