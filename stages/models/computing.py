"""Stages that compute with networks: on cores or on a GPU, as their config says. Light: `validate` loads it."""

from __future__ import annotations

from typing import Protocol

from pipelines.stage import Resources, Stage


class ComputingConfig(Protocol):
    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...


class ComputingStage(Stage):
    """Base of stages whose config has `device` and `threads`."""

    @classmethod
    def resources(cls, config: ComputingConfig) -> Resources:
        """A core for every thread; one GPU where the device is `cuda`."""
        return Resources(cpus=config.threads, gpus=1 if config.device == "cuda" else 0)
