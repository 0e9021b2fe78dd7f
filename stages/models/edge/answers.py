"""The latents that a finished UNet answers, for what is trained on them: cached, or made at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.models.edge.model import EdgeModel
from stages.models.encoding import Precision, frozen_arithmetic


@torch.no_grad()
def one_step_answers(
    model: EdgeModel, lr: Tensor, noise: Tensor | None = None, precision: Precision | None = None
) -> Tensor:
    """z_h, float32 [B, C, H, W], of lr [B, 3, h, w] in [0, 1] in one evaluation; `noise` [B, C, H, W] is N(0, 1).

    On the CPU image by image and in float32, so that each is a function of its image (and noise) alone, and a cached
    answer is the one that training would make.
    """
    alone = lr.device.type == "cpu"
    images = torch.split(lr, 1 if alone else len(lr))
    fields = [None] * len(images) if noise is None else torch.split(noise, 1 if alone else len(lr))
    with frozen_arithmetic(lr.device, precision):
        answers = [
            model.one_step(model.encode_lr(image).float(), field).float()
            for image, field in zip(images, fields, strict=True)
        ]
    return torch.cat(answers).contiguous()


def answer_shape(model: EdgeModel, lr: Tensor) -> tuple[int, int, int]:
    """(C, H, W) of the answer for lr [B, 3, h, w]."""
    return model.channels, lr.shape[2] // model.ratio, lr.shape[3] // model.ratio
