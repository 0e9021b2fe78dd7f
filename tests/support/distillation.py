"""A tiny teacher, a batch and a stage run: what tests of the one-step distillations share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.stage import Stage
from stages.diffusion.noise import Noise
from stages.methods.resshift import TrainResShift
from stages.models.numerics import seeded
from stages.models.resshift import ResShiftModel
from stages.training.method import Batch
from tests.support.harness import FolderArtifact, StageRun, run_stage
from tests.support.textures import texture_pairs

SWIN: dict[str, Any] = {"kind": "swin", "size": 8, "width": 8, "multipliers": [1, 2], "blocks": 1, "swin_width": 8,
        "head_width": 4, "window": 4, "groups": 4}  # fmt: skip
UNET: dict[str, Any] = {"widths": [8, 16], "blocks": 1, "attention": False, "groups": 4}
PROCESS = {"timesteps": 4, "kappa": 2.0, "power": 0.3, "min_noise": 0.2, "end": 0.99}


def restless(module: nn.Module) -> None:
    """Weights away from zero, so that every input matters."""
    with seeded(1):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.15)


def teacher(network: dict[str, Any] = UNET, timesteps: int = 4) -> ResShiftModel:
    process = {**PROCESS, "timesteps": timesteps}
    made = ResShiftModel(scale=4, autoencoder="space-to-depth", residual=True, network=network, process=process)
    restless(made.denoiser)
    return made.eval()


@cache
def batch(count: int = 3) -> Batch:
    with seeded(3):
        lr, hr = torch.rand(count, 3, 8, 8), torch.rand(count, 3, 32, 32)
    return Batch(lr, hr, tuple(range(count)), tuple("abc"[:count]), Noise(7))


QUIET: dict[str, Any] = {
    "seed": 5,
    "data": {"patch": 4},
    "picture_every": 0,
    "checkpoint_every": 1000,
    "validate_every": 0,
}
Trained = tuple[FolderArtifact, FolderArtifact]
"""Pairs and a teacher."""


def small_teacher(folder: Path) -> Trained:
    """Pairs of textures and the artifact of a teacher that has learnt from them for three steps."""
    pairs = texture_pairs(folder / "pairs")
    config = {
        "steps": 3, "network": {"widths": [8], "blocks": 1, "groups": 4}, "data": {"patch": 4}, "validate_every": 0,
        "process": {"timesteps": 4, "min_noise": 0.2}, "training": {"batch_size": 2, "learning_rate": 1e-2, "ema": 0},
    }  # fmt: skip
    return pairs, run_stage(TrainResShift, folder / "teacher", config, {"pairs": pairs}).artifacts["model"]


def distil(
    stage: type[Stage], folder: Path, trained: Trained, steps: int, checkpoints: Path | None = None, **changed: Any
) -> StageRun:
    """A run of `stage` below `folder`, quiet unless `changed` says otherwise."""
    inputs = {"pairs": trained[0], "teacher": trained[1]}
    return run_stage(stage, folder, {**QUIET, "steps": steps, **changed}, inputs, checkpoints=checkpoints)
