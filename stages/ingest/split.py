"""Which images train and which measure: decided by each image's own digest, so it never moves when others come."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias

import pydantic

from pipelines.stage import Config

SplitName: TypeAlias = Literal["train", "val", "test"]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]


class Split(Config):
    """Fractions of images kept for validation and test; the rest is for training."""

    val: Fraction = 0.1
    """Fraction of the images for validation."""

    test: Fraction = 0.1
    """Fraction of the images for the final test."""

    salt: str = "v2017"
    """Another text gives another split. The default was chosen so that of the seven bundled photographs two
    in colour (chelsea, coffee) validate, one (coins) tests and four train."""

    @pydantic.model_validator(mode="after")
    def _leave_some_to_train(self) -> Split:
        if self.val + self.test >= 1:
            raise ValueError(
                f"val {self.val} and test {self.test} leave nothing to train on; their sum must be under 1"
            )
        return self

    def of(self, image: str) -> SplitName:
        """The split of the image with sha256 `image` (64 hex).

        Validation grows from one end and test from the other, so that changing one fraction never moves an
        image between the two.
        """
        place = int(hashlib.sha256(f"{self.salt}:{image}".encode()).hexdigest()[:16], 16) / 2**64
        if place < self.val:
            return "val"
        return "test" if place >= 1 - self.test else "train"
