"""The module that defines the stage."""
# ruff: noqa
# fmt: off

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.stage import Config, Stage

from . import noise as disturb
from .helpers import shapes

if TYPE_CHECKING:
    from . import unreached


class SampleConfig(Config):
    """What a spec may say."""

    strength: float = 1.0
    """How much."""


class Sample(Stage):
    name = "sample"
    Config = SampleConfig

    def run(self, ctx) -> None:  # a comment
        from .lazy import work

        value: float = disturb.add(1, 1.0)
        self.note: str
        work(shapes.SIZE, value)
        __import__("importlib").import_module(".relative", __package__)
