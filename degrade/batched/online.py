"""Pairs made inside a training step: photographs and their numbers in, batches on the device out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degrade.batched.contexts import Pixels
from degrade.batched.engine import render_batch
from degrade.errors import DegradeError
from degrade.preset import Preset
from degrade.recipe import Recipe, sample_recipe


@dataclass(frozen=True)
class OnlinePairs:
    """Renders pairs of one preset: the very pairs that :func:`degrade.engine.render` gives, but for rounding.

    A pair is a function of (seed, image digest, crop number), so batches of any composition, order and number of loader
    workers show the same pairs, and a run that goes on at another step shows those of that step. New pairs of a
    photograph are its next crop numbers. `fused` is that of :func:`degrade.batched.engine.render_batch`.
    """

    preset: Preset
    seed: int
    scale: int
    hr_size: int
    device: torch.device
    fused: bool = False

    def recipe(self, image_size: tuple[int, int], digest: str, crop: int) -> Recipe:
        """The recipe of one pair, for a photograph of `image_size` (height, width) with sha256 `digest`.

        It takes about 1 ms of Python: draw in loader workers and hand the recipes to :meth:`render` where that counts.
        """
        return sample_recipe(
            self.preset,
            seed=self.seed,
            image=digest,
            crop=crop,
            image_size=image_size,
            hr_size=self.hr_size,
            scale=self.scale,
        )

    def __call__(self, images: Sequence[Pixels], digests: Sequence[str], crops: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(hr, lr), float32 in 0..1 [B, 3, hr_size, hr_size] and [B, 3, hr_size / scale, hr_size / scale].

        `images` are whole photographs, uint8 RGB [h, w, 3]; raises :class:`DegradeError` where one is too small.
        """
        if not len(images) == len(digests) == len(crops):
            raise DegradeError(
                f"every image has a digest and a crop number, got {len(images)} images, {len(digests)} digests "
                f"and {len(crops)} crops"
            )
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return self.render(images, [self.recipe(*one) for one in zip(sizes, digests, crops, strict=True)])

    def render(self, images: Sequence[Pixels] | Tensor, recipes: Sequence[Recipe]) -> tuple[Tensor, Tensor]:
        """The same for recipes drawn before (:meth:`recipe`), of photographs or contexts (:func:`render_batch`)."""
        return render_batch(images, recipes, device=self.device, unit=True, fused=self.fused)
