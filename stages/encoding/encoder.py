"""The work of a latent cache: one shard of pairs to one shard of latents, and all shards to an artifact.

What is kept of a pair is an encoder's: both latents of a frozen autoencoder (:class:`PairEncoder`), or a finished
model's answer (`answers.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from pipelines.stage import Context, OutputWriter, Partition, PartitionResult, StageError
from stages.data.index import Pixels
from stages.data.latents import COLUMNS, TYPES, LatentWriter
from stages.data.pixels import Undecodable, single_threaded
from stages.data.samples import SampleIndex
from stages.data.scale import pair_scale
from stages.data.tables import INDEX, merge_tables, rows_table, write_table
from stages.data.tensors import to_batch
from stages.encoding.config import CacheConfig, LatentsConfig
from stages.models.autoencoders import Autoencoder, build_autoencoder
from stages.models.connected import connected_autoencoder
from stages.models.encoding import encode_pair
from stages.models.frozen import Frozen
from stages.models.numerics import numerics

Pair: TypeAlias = tuple[Pixels, Pixels]


class ShardEncoder(Protocol):
    """What turns pairs into `parts` latents each, of every variant."""

    parts: int
    channels: int
    scale: int

    def sides(self, index: SampleIndex) -> tuple[int, int]:
        """Height and width of the latents of `index`. Raises StageError where its images do not fit."""
        ...

    def encode(self, pairs: Sequence[tuple[str, Pair]]) -> Tensor:
        """[b, variants, parts, C, H, W] of pairs and their keys."""
        ...

    def close(self, out: OutputWriter) -> None:
        """State what the finished artifact says of this encoder."""
        ...


EncoderOf: TypeAlias = Callable[[Context, str | None], ShardEncoder]
"""(context, device or None for the config's) -> its encoder."""


def encode_shard(ctx: Context, partition: Partition, encoder_of: EncoderOf) -> None:
    """Write ``latents-<id>.safetensors`` and its part of the index.

    Raises StageError for a shard that is damaged, an image that cannot be read or has another size than the others,
    and a latent that the stored type cannot hold.
    """
    config: CacheConfig = ctx.config
    single_threaded()
    shard = str(partition.params["shard"])
    _check(ctx, shard)
    index = SampleIndex.of_shard(ctx.inputs["pairs"], shard)
    keys = [index.key(i) for i in range(len(index))]
    with numerics(config.threads, reproducible=config.device == "cpu"):
        encoder = encoder_of(ctx, None)
        shape = (2 if config.mirrored else 1, encoder.parts, encoder.channels, *encoder.sides(index))
        writer = LatentWriter(ctx.out["latents"].path(f"latents-{partition.id}.safetensors"), keys, shape, config.dtype)
        done = 0
        for pairs in _read_ahead(index, config):
            latents = encoder.encode(pairs).to(TYPES[config.dtype])
            _refuse_overflow(latents, keys[done:], config.dtype)
            writer.add(latents)
            done += len(pairs)
            ctx.progress(done, len(keys), "pairs")
    rows = rows_table(writer.close(), COLUMNS)
    write_table(rows, ctx.out["latents"].path(f"index-{partition.id}.parquet", derived=True))


def assemble(ctx: Context, parts: Sequence[PartitionResult], encoder_of: EncoderOf) -> None:
    """Carry the shards over, merge the index, and state space and shape."""
    out, entries = ctx.out["latents"], [entry for part in parts for entry in part.entries["latents"]]
    for entry in entries:
        if not entry.derived:
            out.keep(entry)
    index = merge_tables([ctx.part_file(entry) for entry in entries if entry.derived], ["shard", "key"])
    write_table(index, out.path(INDEX, derived=True))
    encoder = encoder_of(ctx, "cpu")
    height, width = encoder.sides(SampleIndex.of_shard(ctx.inputs["pairs"], str(parts[0].partition.params["shard"])))
    out.facet(channels=encoder.channels, height=height, width=width, scale=encoder.scale)
    out.ref("pairs", ctx.inputs["pairs"])
    encoder.close(out)
    ctx.metrics(0, pairs=index.num_rows, shards=len(parts))


def variants_of(pairs: Sequence[tuple[str, Pair]], scale: int, mirrored: bool) -> list[list[Pair]]:
    """The pairs as they are, and mirrored. Raises StageError where they are not of one size, or not of `scale`."""
    first = pairs[0][1][1].shape
    for key, (lr, hr) in pairs:
        if hr.shape != first or lr.shape[0] * scale != hr.shape[0] or lr.shape[1] * scale != hr.shape[1]:
            raise StageError(
                f"{key}: expected HR {first[1]}x{first[0]} and LR {scale} times smaller, got "
                f"{hr.shape[1]}x{hr.shape[0]} and {lr.shape[1]}x{lr.shape[0]}; a cache holds latents of one size"
            )
    plain = [pair for _, pair in pairs]
    return [plain, [(lr[:, ::-1], hr[:, ::-1]) for lr, hr in plain]] if mirrored else [plain]


class PairEncoder:
    """The frozen autoencoder of a stage's config and inputs, on its device."""

    def __init__(self, ctx: Context, device: str | None = None) -> None:
        self.config: LatentsConfig = ctx.config
        self.device = device or (ctx.devices[0] if self.config.device == "cuda" else "cpu")
        self.scale = pair_scale(ctx.inputs["pairs"])
        which = connected_autoencoder(ctx.inputs, self.config.autoencoder)
        built = build_autoencoder(which, self.scale) if isinstance(which, str) else which
        frozen = Frozen(built)
        frozen.apply(lambda tensor: tensor.to(self.device))
        self.autoencoder: Autoencoder = frozen.autoencoder
        self.parts, self.channels = 2, self.autoencoder.channels
        self.trained = ctx.inputs.get("autoencoder")

    def sides(self, index: SampleIndex) -> tuple[int, int]:
        height, width = (int(side) for side in index.hr_sizes()[0])
        factor = self.autoencoder.factor
        if height % factor or width % factor:
            raise StageError(
                f"{index.artifact.label}: HR images are {width}x{height}, and the autoencoder takes multiples of "
                f"{factor}; choose such an hr_size in degrade.pairs"
            )
        return height // factor, width // factor

    def encode(self, pairs: Sequence[tuple[str, Pair]]) -> Tensor:
        variants = variants_of(pairs, self.scale, self.config.mirrored)
        return torch.stack([torch.stack(self._encode(images), dim=1) for images in variants], dim=1)

    def close(self, out: OutputWriter) -> None:
        out.facet(space=self.autoencoder.space)
        if self.trained is not None:
            out.ref("autoencoder", self.trained)

    def _encode(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        lr, hr = (to_batch(images).to(self.device) for images in zip(*pairs, strict=True))
        return encode_pair(self.autoencoder, self.scale, lr, hr, self.config.precision)


def _read_ahead(index: SampleIndex, config: CacheConfig) -> Iterator[list[tuple[str, Pair]]]:
    """Batches of decoded pairs with their keys, in order; the next one is decoded while this one is encoded."""

    def read(i: int) -> tuple[str, Pair]:
        try:
            return index.key(i), index.read_pair(i)
        except Undecodable as error:
            raise StageError(f"{index.artifact.label}: {index.key(i)}: {error}") from error

    with ThreadPoolExecutor(config.loader_threads, thread_name_prefix="pairs") as pool:
        starts = range(0, len(index), config.batch_size)
        batches = [range(start, min(start + config.batch_size, len(index))) for start in starts]
        coming = [pool.submit(read, i) for i in batches[0]]
        for following in [*batches[1:], range(0)]:
            here, coming = coming, [pool.submit(read, i) for i in following]
            yield [future.result() for future in here]


def _check(ctx: Context, shard: str) -> None:
    """What is encoded is kept for good, so that the bytes it is made of are looked at first."""
    pairs = ctx.inputs["pairs"]
    with pairs.open(shard).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != pairs.manifest.entry(shard).sha256:
        raise StageError(
            f"{pairs.label}: {shard} is damaged (its sha256 is {found[:12]}…); `sharpline repair` mends it"
        )


def _refuse_overflow(latents: Tensor, keys: Sequence[str], dtype: str) -> None:
    wrong = (~latents.isfinite()).flatten(1).any(1).nonzero()
    if len(wrong):
        raise StageError(
            f"{keys[int(wrong[0])]}: its latent is not finite as {dtype}; store bfloat16 or float32, and if it is so "
            "already, the autoencoder is broken"
        )
