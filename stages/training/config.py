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
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of forward and backward passes (fp16 scales the loss); weights, averages, optimiser stay float32."""


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
    """A checkpoint is also made when this much time has passed since the last: what a kill can cost."""
    keep_last: Execution[PositiveInt] = 2
    """Checkpoints that are kept, counted from the newest."""
    keep_best: Execution[NonNegativeInt] = 0
    """Checkpoints kept besides: those of the highest validation PSNR. A run with `steps` lowered to one exports it."""
    picture_every: Execution[NonNegativeInt] = 1000
    """Steps between sample pictures of the validation split; 0 for none."""
    validate_every: Execution[NonNegativeInt] = 1000
    """Steps between measurements of loss and PSNR on the validation split; 0 for none."""
    validation_pairs: Execution[PositiveInt] = 8
    """Pairs that a measurement looks at, the first of the validation split."""
    micro_batch: Execution[PositiveInt | None] = None
    """Samples that go through the network at once on an accelerator; gradients add up to the whole batch."""
    recompute: Execution[bool] = False
    """Blocks keep only their inputs and run again in the backward pass: less memory, about a third slower."""
    compile: Execution[bool] = False
    """Networks go through torch.compile (on an accelerator): minutes at the start, faster steps."""
    tf32: Execution[bool] = False
    """Float32 products on tensor cores, with 10 bits of mantissa (on an accelerator)."""
    channels_last: Execution[bool] = False
    """Convolution weights lie with channels innermost (on an accelerator), which bf16 and fp16 kernels want."""
    peak_tflops: Execution[PositiveFloat | None] = None
    """What the device can do at `precision`, in TFLOP/s, by its data sheet; with it, the share in use is recorded."""
    cache_megabytes: Execution[NonNegativeInt] = 512
    """Decoded pairs are kept in memory up to this size; of on-line pairs, decoded photographs."""
    loader_threads: Execution[PositiveInt] = 2

    @model_validator(mode="after")
    def _arithmetic_on_the_cpu_is_settled(self) -> TrainConfig:
        """On an accelerator no two runs give the same bytes, so how sums are ordered there is execution."""
        given = {"micro_batch": self.micro_batch is not None, "compile": self.compile}
        given |= {"tf32": self.tf32, "channels_last": self.channels_last}
        wrong = [name for name, is_given in given.items() if is_given]
        if self.device == "cpu" and wrong:
            raise ValueError(
                f"{wrong[0]} is for device: cuda; on the CPU it would change how sums are rounded, and with that "
                "the bytes of a result that is promised to be reproducible"
            )
        return self

    @model_validator(mode="after")
    def _the_best_are_measured(self) -> TrainConfig:
        if self.keep_best and not self.validate_every:
            raise ValueError("keep_best goes by validation PSNR: set validate_every, or keep_best: 0")
        return self
