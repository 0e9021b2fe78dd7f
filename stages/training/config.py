"""What every training method's ``with:`` has in common. Light: pydantic only, because `validate` loads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipelines.stage import Config, Execution, Extendable


class OptimiserConfig(Config):
    """AdamW and its learning-rate schedule. The schedule never looks at `steps`, so training can be continued."""

    learning_rate: PositiveFloat = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    warmup: NonNegativeInt = 0
    """Steps of linear warm-up from zero."""
    schedule: Literal["constant", "cosine"] = "constant"
    horizon: PositiveInt | None = None
    """The step at which a cosine schedule reaches `final_learning_rate`; it stays there afterwards."""
    final_learning_rate: NonNegativeFloat = 0.0
    clip: PositiveFloat | None = None
    """Largest gradient norm; larger gradients are scaled down to it."""

    @model_validator(mode="after")
    def _schedule_is_complete(self) -> OptimiserConfig:
        if self.schedule == "cosine" and (self.horizon is None or self.horizon <= self.warmup):
            raise ValueError(f"schedule: cosine needs a horizon (in steps) beyond warmup={self.warmup}")
        if self.schedule == "constant" and self.horizon is not None:
            raise ValueError("horizon has no meaning for schedule: constant; leave it out or choose cosine")
        return self


class TrainingConfig(OptimiserConfig):
    """Optimiser of the main network, and the batch."""

    batch_size: PositiveInt = 64
    """Global batch: samples that one optimiser step sees, over all ranks and micro-batches."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the exponential moving average whose weights are exported."""
    precision: Literal["fp32", "bf16"] = "fp32"


class DataConfig(Config):
    """How pairs become training samples."""

    patch: PositiveInt | None = None
    """Random crops of this many LR pixels a side; left out, whole pairs are used."""
    flip: bool = True
    """Mirror left and right at random."""


class TrainConfig(Config):
    """Base of a training stage's config."""

    steps: Extendable[PositiveInt]
    """Optimiser steps of the main network. Raising it continues the finished training."""
    seed: NonNegativeInt = 0
    device: Literal["cpu", "cuda"] = "cpu"
    """Only training on the CPU gives the same bytes every time."""
    threads: PositiveInt = 1
    """CPU threads of the arithmetic; part of the result on the CPU, because it orders sums."""
    training: TrainingConfig = TrainingConfig()
    data: DataConfig = DataConfig()

    log_every: Execution[PositiveInt] = 10
    checkpoint_every: Execution[PositiveInt] = 1000
    """Steps between checkpoints; the last step always makes one."""
    checkpoint_minutes: Execution[PositiveFloat] = 10.0
    """A checkpoint is also made when this much time has passed since the last."""
    picture_every: Execution[NonNegativeInt] = 1000
    """Steps between sample pictures of the validation split; 0 for none."""
    micro_batch: Execution[PositiveInt | None] = None
    """Samples that go through the network at once on an accelerator; gradients add up to the whole batch."""
    cache_megabytes: Execution[NonNegativeInt] = 512
    """Decoded pairs are kept in memory up to this size; of on-line pairs, decoded photographs."""
    loader_threads: Execution[PositiveInt] = 2

    @model_validator(mode="after")
    def _micro_batch_is_for_accelerators(self) -> TrainConfig:
        if self.device == "cpu" and self.micro_batch is not None:
            raise ValueError(
                "micro_batch is for device: cuda; on the CPU it would change how sums are rounded, and with that "
                "the bytes of a result that is promised to be reproducible"
            )
        return self
