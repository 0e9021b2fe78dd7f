"""8-bit pixels in, 8-bit pixels out: how a stage asks any super-resolver for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.stage import StageError
from stages.data.tensors import to_image, to_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.models.registry import SuperResolver
    from stages.sampling.config import SamplingConfig


def enlarge(
    model: SuperResolver,
    lr: NDArray[np.uint8],
    sampling: SamplingConfig,
    *,
    steps: int | None,
    seed: int,
    name: str,
    device: str,
) -> NDArray[np.uint8]:
    """uint8 RGB [h, w, 3] -> [h*scale, w*scale, 3]; `name` identifies the image to its noise.

    Raises StageError for sampling settings that the model does not take.
    """
    chosen = sampling.model_dump(include={"tile", "overlap", "colour_fix"})
    try:
        return to_pixels(model.super_resolve(to_image(lr).to(device), steps=steps, seed=seed, name=name, **chosen))
    except ValueError as error:
        raise StageError(str(error)) from error
