"""What ``encode.one_step`` keeps of a pair: the latent that a finished one-step UNet answers for its LR image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.stage import Context, OutputWriter, StageError
from stages.data.samples import SampleIndex
from stages.data.scale import pair_scale
from stages.data.tensors import to_batch
from stages.diffusion.noise import Noise
from stages.encoding.config import OneStepConfig
from stages.encoding.encoder import Pair, variants_of
from stages.models.edge.answers import answer_shape, one_step_answers
from stages.models.edge.model import EdgeModel
from stages.models.registry import load_model


class AnswerEncoder:
    """The frozen model of a stage's config and inputs, on its device."""

    def __init__(self, ctx: Context, device: str | None = None) -> None:
        self.config: OneStepConfig = ctx.config
        self.device = device or (ctx.devices[0] if self.config.device == "cuda" else "cpu")
        self.artifact, self.scale = ctx.inputs["model"], pair_scale(ctx.inputs["pairs"])
        model = load_model(self.artifact, self.device)
        assert isinstance(model, EdgeModel)
        self.model, self.parts, self.channels = model, 1, model.channels
        self.noise = Noise(self.config.seed)

    def sides(self, index: SampleIndex) -> tuple[int, int]:
        height, width = (int(side) // self.scale for side in index.hr_sizes()[0])
        multiple = self.model.multiple
        if height % multiple or width % multiple:
            raise StageError(
                f"{index.artifact.label}: LR images are {width}x{height}, and the model takes multiples of {multiple}; "
                "choose such an hr_size in degrade.pairs"
            )
        return height // self.model.ratio, width // self.model.ratio

    def encode(self, pairs: Sequence[tuple[str, Pair]]) -> Tensor:
        keys = [key for key, _ in pairs]
        variants = variants_of(pairs, self.scale, self.config.mirrored)
        return torch.stack([self._answers(keys, images)[:, None] for images in variants], dim=1)

    def _answers(self, keys: Sequence[str], pairs: Sequence[Pair]) -> Tensor:
        lr = to_batch([lr for lr, _ in pairs]).to(self.device)
        process, noise = self.model.process, None
        if process.inference_k:  # the very noise of stages/sampling/sampler.py
            shape = answer_shape(self.model, lr)
            noise = self.noise.normal(f"sample/{process.timesteps}", keys, shape).to(self.device)
        return one_step_answers(self.model, lr, noise, self.config.precision)

    def close(self, out: OutputWriter) -> None:
        out.facet(space=self.artifact.facets["latent_space"])
        out.ref("model", self.artifact)
