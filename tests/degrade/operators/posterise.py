"""Posterising: fewer levels a channel, as palettes and cheap screens have."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from degrade.operators.base import Draw, Operator, Place
from degrade.philox import Stream


class PosteriseDraw(Draw):  # what a recipe records of one pair
    op: Literal["posterise"] = "posterise"
    levels: int = Field(ge=2, le=256)

    def render(self, image: np.ndarray) -> np.ndarray:
        step = np.float32(255 / (self.levels - 1))
        return np.clip(np.rint(image / step) * step, 0, 255)


class Posterise(Operator):  # what a preset states
    op: Literal["posterise"] = "posterise"
    draws: ClassVar[type[Draw]] = PosteriseDraw
    levels: tuple[int, int]

    def draw(self, stream: Stream, place: Place) -> PosteriseDraw:
        return PosteriseDraw(id=self.id, levels=stream.integer(*self.levels))
