"""A tiny trained autoencoder as an artifact; its weights are random."""

from __future__ import annotations

from pathlib import Path

import torch

from pipelines.artifact import Facets
from pipelines.stage import Output
from stages.models.latent_space import TrainedAutoencoder
from stages.models.registry import save_model
from stages.models.vq import VQAutoencoder
from tests.support.harness import FolderArtifact, FolderWriter


def tiny_vq(seed: int = 0) -> VQAutoencoder:
    """Factor 4, codes apart enough that quantisation shows."""
    torch.manual_seed(seed)
    made = VQAutoencoder(codes=16, width=4, multipliers=(1, 1, 2), blocks=1, groups=2)
    torch.nn.init.normal_(made.codebook.weight)
    made.requires_grad_(False)
    return made.eval()


def autoencoder_artifact(folder: Path, module: TrainedAutoencoder, facets: Facets | None = None) -> FolderArtifact:
    """`module` as a model artifact in `folder`."""
    writer = FolderWriter(folder, Output("model", "", facets or module.facets()))
    save_model(writer, module.family, module.constructor, module.state_dict(), {})
    return FolderArtifact("autoencoder", folder, writer.manifest())
