"""The official ResShift training step, run from a checkout that the user made; nothing of it is part of this project.

    git clone https://github.com/zsyOAOA/ResShift

Its network, process and autoencoder are imported from there. The order of a step (its trainer's: losses at random t,
backward, AdamW, zeroed gradients, average, the loss record of every step) is written down here, because the trainer
itself wants a CUDA device. Of `timm` and `einops` it takes names that do nothing in this network; where the packages
are absent, stand-ins take their place.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

NETWORK = {
    "image_size": 64, "in_channels": 3, "out_channels": 3, "attention_resolutions": [64, 32, 16, 8],
    "channel_mult": [1, 2, 2, 4], "num_res_blocks": [2, 2, 2, 2], "num_head_channels": 32, "use_scale_shift_norm": True,
    "swin_depth": 2, "window_size": 8, "mlp_ratio": 4, "cond_lq": True, "lq_size": 64,
}  # fmt: skip
PROCESS = {
    "sf": 4, "schedule_name": "exponential", "schedule_kwargs": {"power": 0.3}, "etas_end": 0.99, "steps": 15,
    "min_noise_level": 0.04, "kappa": 2.0, "normalize_input": True, "latent_flag": True, "scale_factor": 1.0,
}  # fmt: skip


def load(checkout: Path) -> None:
    """Make the checkout's packages importable. Raises SystemExit when it is not there."""
    if not (checkout / "models" / "gaussian_diffusion.py").exists():
        sys.exit(f"--reference: expected a checkout of github.com/zsyOAOA/ResShift, nothing such at {checkout}")
    sys.path.insert(0, str(checkout))
    if importlib.util.find_spec("timm") is None:
        layers = types.ModuleType("timm.models.layers")
        vars(layers).update(
            DropPath=nn.Identity, to_2tuple=lambda side: (side, side), trunc_normal_=nn.init.trunc_normal_
        )
        sys.modules |= {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models")}
        sys.modules["timm.models.layers"] = layers
    if importlib.util.find_spec("einops") is None:
        sys.modules["einops"] = einops = types.ModuleType("einops")
        vars(einops).update(rearrange=None, repeat=None)


def network(width: int, swin_width: int) -> nn.Module:
    made: nn.Module = importlib.import_module("models.unet").UNetModelSwin(
        **NETWORK, model_channels=width, swin_embed_dim=swin_width
    )
    return made


def autoencoder(width: int) -> nn.Module:
    """Its VQ-f4 with `width` channels, frozen."""
    made: nn.Module = importlib.import_module("ldm.models.autoencoder").VQModelTorch(
        embed_dim=3,
        n_embed=8192,
        ddconfig={
            "double_z": False, "z_channels": 3, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": width,
            "ch_mult": [1, 2, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0, "padding_mode": "zeros",
        },
    )  # fmt: skip
    return made.eval().requires_grad_(False)


class OfficialStep:
    """What its trainer does for one batch, in one process and one micro-batch (its default: 8 samples), in float32."""

    def __init__(self, model: nn.Module, autoencoder: nn.Module | None, learning_rate: float, ema: float) -> None:
        self.model, self.autoencoder, self.rate = model.train(), autoencoder, ema
        self.process: Any = importlib.import_module("models.script_util").create_gaussian_diffusion(**PROCESS)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0)
        self.average = {name: deepcopy(value.data) for name, value in model.state_dict().items()}
        self.recorded, self.counted = [torch.zeros(3, dtype=torch.float64) for _ in range(2)]

    def losses(self, lq: Tensor, gt: Tensor, t: Tensor, noise: Tensor) -> Mapping[str, Tensor]:
        """Losses of each sample; pixels in [-1, 1]."""
        found: Mapping[str, Tensor] = self.process.training_losses(
            self.model, gt, lq, t, first_stage_model=self.autoencoder, model_kwargs={"lq": lq}, noise=noise
        )[0]
        return found

    def step(self, lq: Tensor, gt: Tensor) -> None:
        t = torch.randint(0, self.process.num_timesteps, (len(gt),))
        seen = self.losses(lq, gt, t, torch.randn(len(gt), 3, gt.shape[-2] // 4, gt.shape[-1] // 4))
        seen["mse"].mean().backward()  # type: ignore[no-untyped-call]
        self._record(seen, t)
        self.optimiser.step()
        self.model.zero_grad()
        self._take_average()

    def _record(self, seen: Mapping[str, Tensor], t: Tensor) -> None:
        """It keeps its losses of three steps of the chain ("mse", and the same again as "loss"), one number a time."""
        for place, at in enumerate((0, self.process.num_timesteps // 2, self.process.num_timesteps - 1)):
            here = (t == at).to(t.dtype)
            for _ in ("mse", "loss"):
                self.recorded[place] += (seen["mse"].detach() * here).sum().item()
            self.counted[place] += here.sum().item()

    @torch.no_grad()
    def _take_average(self) -> None:
        weights = self.model.state_dict()
        for name, value in self.average.items():
            if "relative_position_index" in name:
                self.average[name] = weights[name]
            else:
                value.mul_(self.rate).add_(weights[name], alpha=1 - self.rate)
