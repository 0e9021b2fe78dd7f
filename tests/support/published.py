"""Names and shapes of published state dicts, written from their documented structure; none of our modules is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def filled(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Small random weights of those shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tuple(shape), generator=generator) * 0.05 for name, shape in shapes.items()}


def layer(name: str, *weight: int, bias: bool = True) -> Shapes:
    """A convolution or linear layer of weight shape `weight`; a norm where it is one number."""
    return {f"{name}.weight": weight} | ({f"{name}.bias": weight[:1]} if bias else {})


def conv(name: str, out: int, into: int, side: int = 3, bias: bool = True) -> Shapes:
    return layer(name, out, into, side, side, bias=bias)


# ---------------------------------------------------------------- latent diffusion's autoencoders (CompVis)


def _residual(name: str, into: int, out: int) -> Shapes:
    found = layer(f"{name}.norm1", into) | conv(f"{name}.conv1", out, into)
    found |= layer(f"{name}.norm2", out) | conv(f"{name}.conv2", out, out)
    return found | (conv(f"{name}.nin_shortcut", out, into, 1) if into != out else {})


def _middle(name: str, width: int) -> Shapes:
    found = _residual(f"{name}.mid.block_1", width, width) | _residual(f"{name}.mid.block_2", width, width)
    found |= layer(f"{name}.mid.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        found |= conv(f"{name}.mid.attn_1.{part}", width, width, 1)
    return found


def compvis(
    channels: int, width: int, multipliers: Sequence[int], blocks: int, codes: int | None, loss: bool = True
) -> Shapes:
    """VQModel with `codes`, AutoencoderKL without (its encoder gives mean and log variance), and a training's loss."""
    widths = [width * m for m in multipliers]
    given = channels if codes is not None else 2 * channels
    found = conv("quant_conv", given, given, 1) | conv("post_quant_conv", channels, channels, 1)
    if codes is not None:
        found["quantize.embedding.weight"] = (codes, channels)
    found |= conv("encoder.conv_in", width, 3) | conv("encoder.conv_out", given, widths[-1])
    found |= conv("decoder.conv_in", widths[-1], channels) | conv("decoder.conv_out", 3, width)
    found |= layer("encoder.norm_out", widths[-1]) | layer("decoder.norm_out", width)
    for side, count in (("encoder", blocks), ("decoder", blocks + 1)):
        found |= _middle(side, widths[-1])
        way = "down" if side == "encoder" else "up"
        for i, now in enumerate(widths):
            before = widths[max(i - 1, 0)] if side == "encoder" else widths[min(i + 1, len(widths) - 1)]
            before = width if side == "encoder" and i == 0 else before
            for j in range(count):
                found |= _residual(f"{side}.{way}.{i}.block.{j}", before if j == 0 else now, now)
            if side == "encoder" and i < len(widths) - 1:
                found |= conv(f"encoder.down.{i}.downsample.conv", now, now)
            if side == "decoder" and i > 0:
                found |= conv(f"decoder.up.{i}.upsample.conv", now, now)
    return found | (conv("loss.discriminator.main.0", 8, 3, 4) if loss else {})


# ---------------------------------------------------------------- TAESD


def taesd(side: str, width: int, blocks: int, halvings: int, channels: int = 4) -> Shapes:
    """One half of TAESD as its own file names it: layers by number, no prefix."""
    layers: list[Shapes] = []

    def block() -> Shapes:
        return {f"conv.{i}.{k}": v for i in (0, 2, 4) for k, v in conv("x", width, width).items() for k in [k[2:]]}

    def plain(out: int, into: int, bias: bool = True) -> Shapes:
        return {name[2:]: shape for name, shape in conv("x", out, into, bias=bias).items()}

    if side == "encoder":
        layers = [plain(width, 3), block()]
        for _ in range(halvings):
            layers += [plain(width, width, bias=False), *[block()] * blocks]
        layers += [plain(channels, width)]
    else:
        layers = [{}, plain(width, channels), {}]
        for _ in range(halvings):
            layers += [*[block()] * blocks, {}, plain(width, width, bias=False)]
        layers += [block(), plain(3, width)]
    return {f"{i}.{name}": shape for i, found in enumerate(layers) for name, shape in found.items()}


# ---------------------------------------------------------------- ResShift's UNetModelSwin


def _res_block(name: str, into: int, out: int, embedding: int) -> Shapes:
    found = layer(f"{name}.in_layers.0", into) | conv(f"{name}.in_layers.2", out, into)
    found |= layer(f"{name}.emb_layers.1", 2 * out, embedding)
    found |= layer(f"{name}.out_layers.0", out) | conv(f"{name}.out_layers.3", out, out)
    return found | (conv(f"{name}.skip_connection", out, into, 1) if into != out else {})


def _swin(name: str, features: int, swin: int, heads: int, window: int, side: int) -> Shapes:
    found = conv(f"{name}.patch_embed.proj", swin, features, 1) | conv(f"{name}.patch_unembed.proj", features, swin, 1)
    for i in range(2):
        at = f"{name}.blocks.{i}"
        found |= layer(f"{at}.norm1", swin) | layer(f"{at}.norm2", swin)
        found |= layer(f"{at}.attn.qkv", 3 * swin, swin) | layer(f"{at}.attn.proj", swin, swin)
        found |= conv(f"{at}.mlp.fc1", 4 * swin, swin, 1) | conv(f"{at}.mlp.fc2", swin, 4 * swin, 1)
        found[f"{at}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
        found[f"{at}.attn.relative_position_index"] = (window**2, window**2)
        if i % 2 and side > window:
            found[f"{at}.attn_mask"] = ((side // window) ** 2, window**2, window**2)
    return found


def resshift(
    width: int, multipliers: Sequence[int], blocks: int, swin: int, heads: int, window: int, size: int,
    channels: int = 3, halvings: int = 0,
) -> Shapes:  # fmt: skip
    """UNetModelSwin for latents of `size`, with LR pixels that are `halvings` times larger by a factor of two."""
    embedding = 4 * width
    found = layer("time_embed.0", embedding, width) | layer("time_embed.2", embedding, embedding)
    extra, stack = 3, 16
    for i in range(halvings):
        found |= conv(f"feature_extractor.{3 * i}", stack, extra)
        found |= conv(f"feature_extractor.{3 * i + 2}.op", 2 * stack, stack)
        extra, stack = 2 * stack, 2 * stack
    now = width * multipliers[0]
    found |= conv("input_blocks.0.0", now, channels + extra)
    skips, at = [now], 1
    for level, multiplier in enumerate(multipliers):
        if level:
            found |= conv(f"input_blocks.{at}.0.op", now, now)
            skips, at = [*skips, now], at + 1
        for j in range(blocks):
            now, before = width * multiplier, now
            found |= _res_block(f"input_blocks.{at}.0", before, now, embedding)
            found |= _swin(f"input_blocks.{at}.1", now, swin, heads, window, size >> level) if j == 0 else {}
            skips, at = [*skips, now], at + 1
    found |= _res_block("middle_block.0", now, now, embedding) | _res_block("middle_block.2", now, now, embedding)
    found |= _swin("middle_block.1", now, swin, heads, window, size >> (len(multipliers) - 1))
    at = 0
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for j in range(blocks + 1):
            now, before = width * multiplier, now + skips.pop()
            found |= _res_block(f"output_blocks.{at}.0", before, now, embedding)
            found |= _swin(f"output_blocks.{at}.1", now, swin, heads, window, size >> level) if j == 0 else {}
            if level and j == blocks:
                found |= conv(f"output_blocks.{at}.{2 if j == 0 else 1}.conv", now, now)
            at += 1
    return found | layer("out.0", now) | conv("out.2", channels, now)
