"""Edge-SD-SR made tiny: settings of its stages and runs of them, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.stage import Artifact, Stage
from tests.support.harness import StageRun, run_stage

QUIET: dict[str, Any] = {
    "seed": 5, "data": {"patch": 4}, "picture_every": 0, "checkpoint_every": 1000, "validate_every": 0,
    "training": {"batch_size": 2, "learning_rate": 3e-3, "ema": 0.9},
}  # fmt: skip
NETWORK: dict[str, Any] = {"widths": [8], "blocks": 1, "attention": [], "head_width": 8, "groups": 4, "embedding": 8}
UNET = {**QUIET, "autoencoder": "space-to-depth", "network": NETWORK}
JOINT = {**QUIET, "encoder": {"widths": [8], "blocks": [1], "residual": True}}
DECODER = {
    **QUIET, "decoder": {"width": 8, "blocks": 1, "residual": True}, "losses": [{"kind": "l1"}],
    "discriminator": {"width": 8, "layers": 2, "learning_rate": 1e-3, "start": 1},
}  # fmt: skip


def edge(
    stage: type[Stage], folder: Path, config: dict[str, Any], steps: int, checkpoints: Path | None = None,
    **inputs: Artifact,
) -> StageRun:  # fmt: skip
    """A run of `stage` below `folder`."""
    return run_stage(stage, folder, {**config, "steps": steps}, inputs, checkpoints=checkpoints)
