"""What every training stage is, whatever it trains: a gang on cores or GPUs, whose result outlives a change of code."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import model_validator

from pipelines.stage import Execution, Input
from stages.models.computing import ComputingStage
from stages.training.config import TrainConfig

PAIRS_INPUT: Final = Input("samples", "LR and HR pairs; only their train split is learned from", {"role": "pairs"})


class TrainingStage(ComputingStage):
    """Base of the stages. Their ``run`` enters ``ranks_of(ctx)``; rank 0 writes what comes out."""

    gang = True
    code_policy: ClassVar[Literal["key", "advisory"]] = "advisory"


class InLatentsConfig(TrainConfig):
    """Of a training in the latent space of a frozen autoencoder."""

    autoencoder_precision: Execution[Literal["fp32", "bf16", "fp16"] | None] = None
    """Arithmetic of the frozen autoencoder on an accelerator; left out, that of `training.precision`."""

    @model_validator(mode="after")
    def _the_cpu_encodes_in_float32(self) -> InLatentsConfig:
        if self.device == "cpu" and self.autoencoder_precision is not None:
            raise ValueError("autoencoder_precision is for device: cuda; on the CPU the autoencoder computes in fp32")
        return self
