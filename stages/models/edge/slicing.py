"""The first channels of a Stable Diffusion UNet as the beginning of an edge UNet, as AdcSR prunes (arXiv 2411.13383).

Names are those of diffusers' `UNet2DConditionModel` (Stable Diffusion 1.5 and 2.1, v-prediction or epsilon). What is
kept of each layer are its first outputs, for the first inputs; of a joint of two feature maps the first of each, of
the sinusoids of t those of the same frequency. In attention that is the first heads.

What cannot be taken:

- text: each cross-attention with its norm (`attn2`, `norm2`), and what embeds conditions (`add_embedding`, ...);
- the middle block, which an edge UNet does not have;
- transformers of levels where the edge UNet has none. In turn Stable Diffusion has none at its lowest level, so what an
  edge UNet has there begins anew, at zero;
- the statistics of norms: 32 groups of half the channels hold other channels together;
- what the first convolution makes of z_l, which Stable Diffusion is not given: those weights are zero.

GELU gates become SiLU ones, as gelu(x) is silu(1.702 x) / 1.702 to about 0.02. The last convolution answers what Stable
Diffusion's answers: of the versions with v-prediction, v.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stages.models.edge.unet import EdgeUNet

GELU: Final = 1.702
"""x sigmoid(1.702 x) is the usual approximation of GELU (Hendrycks & Gimpel, arXiv 1606.08415)."""
LAYERS: Final = (
    (r"stem\.", "conv_in."),
    (r"time\.first\.", "time_embedding.linear_1."),
    (r"time\.second\.", "time_embedding.linear_2."),
    (r"norm\.", "conv_norm_out."),
    (r"head\.", "conv_out."),
    (r"(down|up)\.(\d+)\.blocks\.(\d+)\.time\.", r"\1_blocks.\2.resnets.\3.time_emb_proj."),
    (r"(down|up)\.(\d+)\.blocks\.(\d+)\.skip\.", r"\1_blocks.\2.resnets.\3.conv_shortcut."),
    (r"(down|up)\.(\d+)\.blocks\.(\d+)\.", r"\1_blocks.\2.resnets.\3."),
    (r"down\.(\d+)\.leave\.", r"down_blocks.\1.downsamplers.0.conv."),
    (r"up\.(\d+)\.leave\.", r"up_blocks.\1.upsamplers.0.conv."),
)
TRANSFORMER: Final = (
    ("norm.", "norm."), ("enter.", "proj_in."), ("leave.", "proj_out."),
    ("norm1.", "transformer_blocks.0.norm1."), ("norm2.", "transformer_blocks.0.norm3."),
    ("attention.q.", "transformer_blocks.0.attn1.to_q."), ("attention.k.", "transformer_blocks.0.attn1.to_k."),
    ("attention.v.", "transformer_blocks.0.attn1.to_v."), ("attention.out.", "transformer_blocks.0.attn1.to_out.0."),
    ("value.", "transformer_blocks.0.ff.net.0.proj."), ("gate.", "transformer_blocks.0.ff.net.0.proj."),
    ("narrow.", "transformer_blocks.0.ff.net.2."),
)  # fmt: skip
"""Names within our transformer and theirs; value and gate are the halves of one layer."""


@dataclass(frozen=True)
class Sliced:
    """`state` is for `EdgeUNet.load_state_dict`; the other names say what is in it."""

    state: dict[str, Tensor]
    fresh: tuple[str, ...]
    """Our names whose values are those that the network had before."""
    unused: tuple[str, ...]
    """Names of Stable Diffusion of which nothing was taken."""


def slice_unet(theirs: Mapping[str, Tensor], network: EdgeUNet) -> Sliced:
    """Weights for `network` out of the wider UNet `theirs`; `network` itself stays as it is.

    Raises ValueError for a state dict that lacks a layer, and for one that is narrower than `network`.
    """
    state, fresh, used = {}, [], set()
    for name, ours in network.state_dict().items():
        source = their_name(name)
        if ".transformers." in name and source not in theirs:
            state[name] = ours
            fresh.append(name)
            continue
        if source not in theirs:
            raise ValueError(
                f"{source} is not among the weights, which {name} is taken of; expected the state dict of a UNet of "
                f"Stable Diffusion in diffusers' layout, with the {len(network.down)} levels of this network"
            )
        used.add(source)
        state[name] = _sliced(name, theirs[source].to(torch.float32), ours, network, theirs)
    return Sliced(state, tuple(fresh), tuple(name for name in theirs if name not in used))


def their_name(name: str) -> str:
    """What diffusers calls the layer that our `name` is taken of."""
    found = re.fullmatch(r"(down|up)\.(\d+)\.transformers\.(\d+)\.(.+)", name)
    if found:
        inside = next(f"{new}{found[4].removeprefix(old)}" for old, new in TRANSFORMER if found[4].startswith(old))
        return f"{found[1]}_blocks.{found[2]}.attentions.{found[3]}.{inside}"
    for pattern, replacement in LAYERS:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    raise ValueError(f"{name}: expected the name of a weight of an edge UNet")


def _sliced(name: str, value: Tensor, ours: Tensor, network: EdgeUNet, theirs: Mapping[str, Tensor]) -> Tensor:
    if name == "stem.weight":
        taken = _first(value, (len(ours), value.shape[1], *ours.shape[2:]), name)
        extra = ours.shape[1] - taken.shape[1]
        if extra < 0:
            raise ValueError(f"conv_in: expected at most {ours.shape[1]} input channels, got {taken.shape[1]}")
        return torch.cat([taken, taken.new_zeros(len(ours), extra, *taken.shape[2:])], dim=1)
    if name == "time.first.weight" and value.shape[1] >= ours.shape[1]:
        return _first(_same_waves(value, ours.shape[1]), tuple(ours.shape), name)
    gated = re.search(r"\.(value|gate)\.(weight|bias)$", name)
    if gated:
        value = value.chunk(2)[gated[1] == "gate"] * (GELU if gated[1] == "gate" else 1 / GELU)
    joint = re.fullmatch(r"up\.(\d+)\.blocks\.(\d+)\.(norm1|conv1|skip)\.(weight|bias)", name)
    if joint and (joint[3] == "norm1" or joint[4] == "weight"):
        axis = 0 if joint[3] == "norm1" else 1
        below, skip = network.joints[int(joint[1])][int(joint[2])]
        middle = _width_below(theirs, int(joint[1]), int(joint[2]), len(network.down))
        if middle < below or value.shape[axis] - middle < skip:
            raise ValueError(_narrow(name, value, ours))
        value = torch.cat([value.narrow(axis, 0, below), value.narrow(axis, middle, skip)], dim=axis)
    return _first(value, tuple(ours.shape), name)


def _first(value: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """The first of each axis, in `shape`, to which axes of length one are added (a linear layer for a convolution)."""
    value = value.reshape(*value.shape, *[1] * (len(shape) - value.dim()))
    if value.dim() != len(shape) or any(have < want for have, want in zip(value.shape, shape, strict=True)):
        raise ValueError(_narrow(name, value, torch.empty(shape, device="meta")))
    for axis, size in enumerate(shape):
        value = value.narrow(axis, 0, size)
    return value.clone()


def _narrow(name: str, value: Tensor, ours: Tensor) -> str:
    return f"{their_name(name)}: expected at least {list(ours.shape)} for {name}, got {list(value.shape)}"


def _same_waves(value: Tensor, features: int) -> Tensor:
    """Columns of the sinusoids that a narrower embedding has too, of [E, cosines and sines]; else the first of each.

    Frequencies fall geometrically from 1 to 1/10,000 over as many as there are, so of twice as many every second.
    """
    wide, half = value.shape[1] // 2, features // 2
    every = wide // half if half and wide % half == 0 else 1
    columns = torch.arange(half) * every
    return value[:, torch.cat([columns, wide + columns])]


def _width_below(theirs: Mapping[str, Tensor], level: int, block: int, levels: int) -> int:
    """How many channels of the joint before a block on their way up come from below, the others being the skip's."""
    if block:
        return len(theirs[f"up_blocks.{level}.resnets.{block - 1}.conv2.weight"])
    if level:
        return len(theirs[f"up_blocks.{level - 1}.upsamplers.0.conv.weight"])
    lowest = re.compile(rf"down_blocks\.{levels - 1}\.resnets\.\d+\.conv2\.weight")
    return len(theirs[max(name for name in theirs if lowest.fullmatch(name))])
