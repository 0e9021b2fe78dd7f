"""``encode.one_step``: what a finished Edge-SD-SR UNet answers for stored pairs, once for all decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipelines.stage import (
    Artifact,
    Context,
    Facets,
    Input,
    InputFacets,
    Output,
    Partition,
    PartitionResult,
    SourceFile,
    StageError,
    facets_of,
)
from stages.data.scale import refuse_other_scale
from stages.encoding.config import OneStepConfig
from stages.encoding.latents import ONLINE, CacheStage, shards_of


class EncodeOneStep(CacheStage):
    """The latents that LR encoder and UNet answer for every pair, and for its mirror image; one shard a partition.

    A decoder is finetuned on them (train.edge_decoder), once or with several settings, while the large networks rest.
    Code is advice, as for encode.latents.
    """

    name = "encode.one_step"
    Config = OneStepConfig
    inputs: ClassVar[Mapping[str, Input]] = {
        "pairs": Input("samples", "stored pairs of one size", {"role": "pairs"}),
        "model": Input("model", "what answers: a model of Edge-SD-SR", {"role": "sr", "family": "edge"}),
    }

    @classmethod
    def outputs(cls, config: OneStepConfig, inputs: InputFacets) -> Mapping[str, Output]:
        pairs, model = facets_of(inputs, "pairs"), facets_of(inputs, "model")
        if pairs.get("online"):
            raise StageError(ONLINE)
        refuse_other_scale(pairs.get("scale"), model.get("scale"), "model")
        facets: Facets = {"role": "one-step", "mirrored": config.mirrored, "dtype": config.dtype, "parts": 1}
        if (scale := pairs.get("scale")) is not None:
            facets["scale"] = scale
        if (space := model.get("latent_space")) is not None:
            facets["space"] = space
        return {"latents": Output("samples", "answers with index.parquet", facets, config.device == "cpu")}

    @classmethod
    def partitions(
        cls, config: OneStepConfig, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        """A model without an encoder of its own answers differently with another autoencoder, which it refers to."""
        return shards_of(inputs, "model", autoencoder=inputs["model"].manifest.refs.get("autoencoder"))

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.encoding.answers import AnswerEncoder
        from stages.encoding.encoder import encode_shard

        encode_shard(ctx, partition, AnswerEncoder)

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        from stages.encoding.answers import AnswerEncoder
        from stages.encoding.encoder import assemble

        assemble(ctx, parts, AnswerEncoder)
