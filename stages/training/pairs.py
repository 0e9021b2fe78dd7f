"""The pairs of a training run, checked against its config before the first step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.stage import Artifact, StageError
from stages.data.index import Pairs
from stages.data.opening import open_pairs
from stages.data.scale import pair_scale
from stages.training.config import TrainConfig


def training_pairs(artifact: Artifact, config: TrainConfig, multiple: int) -> Pairs:
    """The train split. Raises StageError when it is empty or does not fit batch, patch or network.

    `multiple` is what LR heights and widths must be multiples of (see the model).
    """
    pairs = open_pairs(artifact, split="train")
    batch, patch = config.training.batch_size, config.data.patch
    if len(pairs) < batch:
        raise StageError(
            f"{artifact.label}: a batch takes {batch} different pairs, the train split has {len(pairs)}. "
            "Add images, cut more crops of each, or lower training.batch_size"
        )
    scale = pair_scale(artifact)
    _refuse_other_scale(pairs, scale)
    sizes = pairs.hr_sizes() // scale
    side = _whole(pairs, sizes) if patch is None else _patch(pairs, sizes, patch, scale)
    if side[0] % multiple or side[1] % multiple:
        raise StageError(
            f"LR samples of {side[1]}x{side[0]} do not fit the network, which takes multiples of {multiple}; "
            "set data.patch, or use fewer levels in network.widths"
        )
    return pairs


def _refuse_other_scale(pairs: Pairs, scale: int) -> None:
    lr, hr = pairs.read_pair(0)
    height, width = lr.shape[:2]
    if hr.shape[:2] != (height * scale, width * scale):
        raise StageError(
            f"{pairs.artifact.label}: {pairs.key(0)} has LR {width}x{height} and HR {hr.shape[1]}x{hr.shape[0]}, "
            f"which is not scale {scale} as the artifact says; it was not made by degrade.pairs"
        )


def _whole(pairs: Pairs, sizes: NDArray[np.int64]) -> tuple[int, int]:
    """(height, width) that all LR images share: a batch is one array."""
    height, width = (int(side) for side in sizes[0])
    differ = bool((sizes != sizes[0]).any())
    if differ or (pairs.may_turn and height != width):
        what = "the photographs' own" if differ else f"{width}x{height}, some of them turned"
        raise StageError(
            f"{pairs.artifact.label}: a batch takes LR images of one size, and here sizes are {what}; set data.patch, "
            f"at most {int(sizes.min())} (the shortest LR side), to learn from random patches"
        )
    return height, width


def _patch(pairs: Pairs, sizes: NDArray[np.int64], patch: int, scale: int) -> tuple[int, int]:
    """(height, width) of a patch, which every LR image must hold."""
    shortest = sizes.min(axis=1)
    small = np.flatnonzero(shortest < patch)
    if len(small) and not (sizes != sizes[0]).any():
        size = f"{sizes[0][1]}x{sizes[0][0]}"
        raise StageError(f"data.patch: expected at most the LR size {size} of {pairs.artifact.label}, got {patch}")
    if len(small):
        images = pairs.column("image")
        found = {str(images[i]): sizes[i] for i in small}
        named = [f"{image[:16]} ({w}x{h})" for image, (h, w) in sorted(found.items(), key=lambda item: item[1].min())]
        raise StageError(
            f"data.patch: expected at most the LR size, got {patch}; of the photographs of {pairs.artifact.label} "
            f"{len(named)} are smaller: {', '.join([*named[:3], *(['…'] if len(named) > 3 else [])])}. "
            f"Lower it to at most {int(shortest.min())}, or leave out photographs under {patch * scale} pixels "
            "where they are ingested (min_size)"
        )
    return patch, patch
