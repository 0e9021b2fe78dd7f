"""The pairs of a training run, checked against its config before the first step."""

from __future__ import annotations

from pipelines.stage import Artifact, StageError
from stages.data.samples import SampleIndex
from stages.training.config import TrainConfig


def training_pairs(artifact: Artifact, config: TrainConfig, multiple: int) -> SampleIndex:
    """The train split. Raises StageError when it is empty or does not fit batch, patch or network.

    `multiple` is what LR heights and widths must be multiples of (see the model).
    """
    index = SampleIndex.from_artifact(artifact, split="train")
    batch, patch = config.training.batch_size, config.data.patch
    if len(index) < batch:
        raise StageError(
            f"{artifact.label}: a batch takes {batch} different pairs, the train split has {len(index)}. "
            "Add images, cut more crops of each, or lower training.batch_size"
        )
    lr, hr = index.read_pair(0)
    height, width = lr.shape[:2]
    scale = pair_scale(artifact)
    if hr.shape[:2] != (height * scale, width * scale):
        raise StageError(
            f"{artifact.label}: {index.key(0)} has LR {width}x{height} and HR {hr.shape[1]}x{hr.shape[0]}, "
            f"which is not scale {scale} as the artifact says; it was not made by degrade.pairs"
        )
    if patch is not None and patch > min(height, width):
        raise StageError(f"data.patch: expected at most the LR size {width}x{height} of {artifact.label}, got {patch}")
    side = (patch, patch) if patch is not None else (height, width)
    if side[0] % multiple or side[1] % multiple:
        raise StageError(
            f"LR samples of {side[1]}x{side[0]} do not fit the network, which takes multiples of {multiple}; "
            "set data.patch, or use fewer levels in network.widths"
        )
    return index


def pair_scale(artifact: Artifact) -> int:
    """The scale that a pairs artifact states. Raises StageError when it states none."""
    scale = artifact.facets.get("scale")
    if not isinstance(scale, int):
        raise StageError(f"{artifact.label}: the artifact states no integer `scale`, so it is no set of pairs")
    return scale
