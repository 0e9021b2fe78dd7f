"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from stages.training.config import OptimiserConfig


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """The rate for update number `step` (from 0): linear warm-up, then constant or cosine down to the horizon."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant" or config.horizon is None:
        return config.learning_rate
    progress = min((step - config.warmup) / (config.horizon - config.warmup), 1.0)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2
