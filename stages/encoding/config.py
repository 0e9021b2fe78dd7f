"""The ``with:`` sections of ``encode.latents`` and ``encode.one_step``. Light: `validate` loads it."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from pipelines.stage import Config, Execution


class CacheConfig(Config):
    """What every cache of latents says about itself."""

    mirrored: bool = True
    """Mirror images are encoded too, for `data: {flip: true}`: a network does not encode them to mirrored latents."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """How latents are stored. Float32 trains exactly as without a cache; the others take half the room."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: PositiveInt = 1
    """CPU threads of the arithmetic; part of the result on the CPU, because they order sums."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks on an accelerator."""
    batch_size: Execution[PositiveInt] = 16
    """Pairs that are encoded at once on an accelerator. On the CPU each image is encoded by itself."""
    loader_threads: Execution[PositiveInt] = 2
    """Threads that decode images."""

    @model_validator(mode="after")
    def _the_cpu_computes_in_float32(self) -> CacheConfig:
        if self.device == "cpu" and self.precision != "fp32":
            raise ValueError(f"precision: {self.precision} is for device: cuda; on the CPU leave it out")
        return self


class LatentsConfig(CacheConfig):
    autoencoder: Literal["identity", "space-to-depth", "artifact"] = "artifact"
    """That of the training: the trained one connected to the input `autoencoder`, or one that needs no weights."""


class OneStepConfig(CacheConfig):
    seed: NonNegativeInt = 0
    """Of the noise that each answer begins with, a function of the pair's name, as where an image is made; a model
    whose `inference_k` is 0 has none."""
