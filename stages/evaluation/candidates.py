"""What is measured side by side: models at a number of sampling steps, and baselines that need no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from degrade.imresize import imresize
from pipelines.stage import Artifact, JsonObject, StageError
from stages.metrics.fidelity import Pixels
from stages.models.registry import SuperResolver, load_model
from stages.sampling.config import SamplingConfig
from stages.sampling.pixels import enlarge

if TYPE_CHECKING:
    from stages.evaluation.evaluate import EvaluateConfig


class Candidate(Protocol):
    """`row` names it in the artifact (by digest), `label` to people; `facts` stand beside its numbers."""

    @property
    def row(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def facts(self) -> JsonObject: ...

    def answer(self, lr: Pixels, size: tuple[int, int], name: str) -> Pixels:
        """The HR estimate, uint8 RGB of `size` (height, width); `name` identifies the image to its noise."""
        ...


@dataclass(frozen=True)
class Bicubic:
    """MATLAB's imresize (Keys' kernel, a = -0.5), as in published tables."""

    row: str = "bicubic"
    label: str = "bicubic"
    facts: JsonObject = field(default_factory=dict)

    def answer(self, lr: Pixels, size: tuple[int, int], name: str) -> Pixels:
        up: NDArray[np.float32] = imresize(lr.astype(np.float32), size)
        return np.rint(np.clip(up, 0, 255)).astype(np.uint8)


@dataclass(frozen=True)
class ModelAt:
    """A model sampled in `steps` steps (None: as trained) with noise of `seed`, as `sampling` says."""

    row: str
    label: str
    facts: JsonObject
    model: SuperResolver
    steps: int | None
    seed: int
    device: str
    sampling: SamplingConfig

    def answer(self, lr: Pixels, size: tuple[int, int], name: str) -> Pixels:
        return enlarge(self.model, lr, self.sampling, steps=self.steps, seed=self.seed, name=name, device=self.device)


def candidates(models: Sequence[Artifact], config: EvaluateConfig, scale: int, device: str) -> list[Candidate]:
    """Baselines first, then each model once (two names for one digest are one row).

    Raises StageError for a model of another scale.
    """
    found: list[Candidate] = [Bicubic() for _ in config.baselines]
    different = {artifact.digest: artifact for artifact in reversed(models)}
    for artifact in (a for a in models if different[a.digest] is a):
        found += _model_rows(artifact, config, scale, device)
    return found


def _model_rows(artifact: Artifact, config: EvaluateConfig, scale: int, device: str) -> Iterator[Candidate]:
    model = load_model(artifact, device)
    if model.scale != scale:
        raise StageError(f"{artifact.label} is for scale {model.scale}, the pairs are of scale {scale}")
    asked = config.steps if model.evaluations() > 1 else ()  # a model of one step has no other, whatever others have
    for steps in asked or (None,):
        facts: JsonObject = {"model": artifact.digest, "evaluations": model.evaluations(steps)}
        suffix = "" if steps is None else f"@steps={steps}"
        row, label = f"{model.family}-{artifact.digest[:12]}{suffix}", f"{artifact.label}{suffix}"
        yield ModelAt(row, label, facts, model, steps, config.seed, device, config)
