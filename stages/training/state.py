"""The whole state of a training run, and its one file in a checkpoint.

There is no generator state and no position in the data: noise and order are functions of the step, so the
step says it all.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.optim import AdamW

from pipelines.stage import StageError
from stages.training.ema import Ema
from stages.training.method import Method, Phase
from stages.training.scaling import LossScale

STATE_SCHEMA: Final = 1
STATE_FILE: Final = "state.pt"


def _optimiser(phase: Phase, method: Method) -> AdamW:
    weights = [p for name in phase.trains for p in method.networks[name].parameters() if p.requires_grad]
    settings = phase.optimiser
    one_pass = all(p.device.type in ("cpu", "cuda") for p in weights)  # not where memory is only imagined
    return AdamW(
        weights, settings.learning_rate, settings.betas, weight_decay=settings.weight_decay, fused=one_pass or None
    )


@dataclass
class TrainState:
    """Networks, averages and optimisers after `step` steps.

    `scales` are the loss scales of fp16, by phase. `skipped` counts updates refused by the guard, `refused_in_a_row`
    those since the last good one. `best` holds the validation PSNR of the best steps that have a checkpoint.
    """

    networks: dict[str, nn.Module]
    averages: dict[str, Ema]
    optimisers: dict[str, AdamW]
    scales: dict[str, LossScale] = field(default_factory=dict)
    step: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    refused_in_a_row: dict[str, int] = field(default_factory=dict)
    best: dict[int, float] = field(default_factory=dict)

    @classmethod
    def create(cls, method: Method, precision: str = "fp32") -> TrainState:
        networks = dict(method.networks)
        averages = {name: Ema(networks[name], decay) for name, decay in method.averaged.items()}
        optimisers = {phase.name: _optimiser(phase, method) for phase in method.phases}
        scales = {name: LossScale() for name in optimisers} if precision == "fp16" else {}
        return cls(networks, averages, optimisers, scales)

    def keep_best(self, psnr: float, count: int) -> bool:
        """Whether this step is among the `count` best so far; then it is noted, and a worse one forgotten."""
        if count < 1 or not math.isfinite(psnr):
            return False
        ranked = sorted({**self.best, self.step: psnr}.items(), key=lambda item: (-item[1], item[0]))
        self.best = dict(sorted(ranked[:count]))
        return self.step in self.best

    def save(self, folder: Path) -> None:
        """Write the state into `folder`, which must exist."""
        data = {
            "schema": STATE_SCHEMA,
            "step": self.step,
            "skipped": self.skipped,
            "refused_in_a_row": self.refused_in_a_row,
            "best": self.best,
            "scales": {name: asdict(scale) for name, scale in self.scales.items()},
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "averages": {name: ema.average for name, ema in self.averages.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }
        torch.save(data, folder / STATE_FILE)

    def load(self, folder: Path) -> None:
        """Continue from a saved state. Raises StageError when it does not fit this method's networks."""
        data: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
        if data.get("schema") != STATE_SCHEMA:
            raise StageError(
                f"trainer state: expected schema {STATE_SCHEMA}, got {data.get('schema')!r}; it was written by "
                "another version of Sharpline: finish the training with that one, or start anew with --rebuild"
            )
        try:
            for name, network in self.networks.items():
                network.load_state_dict(data["networks"][name])
            for name, ema in self.averages.items():
                ema.load(data["averages"][name])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(data["optimisers"][name])
            self.scales = {name: LossScale(**data["scales"][name]) for name in self.scales}
        except (KeyError, RuntimeError, ValueError) as error:
            first = " ".join(str(error).split("\n\t")[:2])
            raise StageError(
                f"the trainer state of step {data['step']} does not fit this method's networks: {first} "
                "The code has changed since it was written; start anew with --rebuild"
            ) from error
        self.step = data["step"]
        self.skipped = dict(data["skipped"])
        self.refused_in_a_row = dict(data.get("refused_in_a_row", {}))  # states of earlier versions have neither
        self.best = dict(data.get("best", {}))
