"""``encode.latents``: what a frozen autoencoder makes of stored pairs, computed once instead of at every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pipelines.stage import (
    Artifact,
    Context,
    Facets,
    Input,
    InputFacets,
    Json,
    JsonObject,
    Output,
    Partition,
    PartitionResult,
    Read,
    SourceFile,
    StageError,
    facets_of,
)
from stages.encoding.config import LatentsConfig
from stages.models.computing import ComputingStage
from stages.models.config import AUTOENCODER_INPUT, latent_space, require_autoencoder

if TYPE_CHECKING:
    from stages.data.samples import SampleIndex


class CacheStage(ComputingStage):
    """Base of the stages that encode stored pairs, a shard a partition."""

    code_policy: ClassVar[Literal["key", "advisory"]] = "advisory"
    libraries: ClassVar[tuple[str, ...]] = ("opencv-python-headless", "torch")


class EncodeLatents(CacheStage):
    """The latents of HR and of the enlarged LR of every pair, and of their mirror images; one shard a partition.

    Encoding is about 70 % of what a ResShift teacher computes at full size. A partition is a shard of the pairs, so
    pairs that change encode their own shard again and no other. Its code is advice, as a training's is: what it
    reaches is every network, and an edit of one of them should not cost days of an accelerator.
    """

    name = "encode.latents"
    Config = LatentsConfig
    inputs: ClassVar[Mapping[str, Input]] = {
        "pairs": Input("samples", "stored pairs of one size", {"role": "pairs"}),
        "autoencoder": AUTOENCODER_INPUT,
    }

    @classmethod
    def outputs(cls, config: LatentsConfig, inputs: InputFacets) -> Mapping[str, Output]:
        require_autoencoder(config.autoencoder, inputs)
        pairs, trained = facets_of(inputs, "pairs"), facets_of(inputs, "autoencoder")
        if pairs.get("online"):
            raise StageError(ONLINE)
        facets: Facets = {"role": "latents", "mirrored": config.mirrored, "dtype": config.dtype}
        if (scale := pairs.get("scale")) is not None:
            facets["scale"] = scale
        if (space := latent_space(config.autoencoder, inputs)) is not None:
            facets["space"] = space
        if "channels" in trained:
            facets["channels"] = trained["channels"]
        return {"latents": Output("samples", "latents with index.parquet", facets, config.device == "cpu")}

    @classmethod
    def partitions(
        cls, config: LatentsConfig, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return shards_of(inputs, "autoencoder")

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.encoding.encoder import PairEncoder, encode_shard

        encode_shard(ctx, partition, PairEncoder)

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        from stages.encoding.encoder import PairEncoder, assemble

        assemble(ctx, parts, PairEncoder)


def shards_of(inputs: Mapping[str, Artifact], slot: str, **params: Json) -> Sequence[Partition]:
    """One partition for each shard of the input `pairs`, encoded by the model of `slot`, if one is connected.

    `params` are what its bytes depend on besides. Raises StageError for pairs that cannot be cached.
    """
    from stages.data.rules import is_online
    from stages.data.samples import SampleIndex

    pairs = inputs["pairs"]
    if is_online(pairs):
        raise StageError(ONLINE)
    index = SampleIndex.from_artifact(pairs)
    _refuse_sizes(index)
    weights = inputs[slot].manifest.entries if slot in inputs else ()
    trained = tuple(
        Read(slot, entry.name, entry.sha256, entry.name, 0, entry.size)
        for entry in weights
        if entry.name in ("model.json", "weights.safetensors")
    )
    found = []
    for counted in index.table["shard"].value_counts().to_pylist():
        shard = pairs.manifest.entry(counted["values"])
        reads = (Read("pairs", shard.name, shard.sha256, shard.name, 0, shard.size), *trained)
        part = shard.name.removesuffix(".tar").removeprefix("shard-")
        settings: JsonObject = {"shard": shard.name, "scale": pairs.facets.get("scale"), **params}
        found.append(Partition(part, settings, reads, float(counted["counts"])))
    return sorted(found, key=lambda part: part.id)


ONLINE = (
    "a latent cache needs stored pairs: on-line pairs are others in every epoch. Set online: false in degrade.pairs "
    "(with more crops, if one epoch of them is too little), or train without a cache"
)


def _refuse_sizes(index: SampleIndex) -> None:
    sizes = index.hr_sizes()
    if (sizes != sizes[0]).any():
        (low, high), label = (sizes.min(axis=0), sizes.max(axis=0)), index.artifact.label
        raise StageError(
            f"{label}: a latent cache needs HR images of one size, and here they are from {low[1]}x{low[0]} to "
            f"{high[1]}x{high[0]} pixels: training on them takes random patches, and the latent of a patch is no patch "
            "of the latent. Cut them where they are degraded (degrade.pairs with hr_size: 256), or train without a "
            "cache"
        )
