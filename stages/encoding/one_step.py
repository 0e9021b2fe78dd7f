"""``encode.one_step``: what a finished Edge-SD-SR UNet answers for stored pairs, once for all decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pipelines.stage import (
    Artifact,
    Context,
    Facets,
    Input,
    InputFacets,
    Output,
    Partition,
    PartitionResult,
    Resources,
    SourceFile,
    Stage,
    StageError,
)
from stages.encoding.config import OneStepConfig
from stages.encoding.latents import ONLINE, one, shards_of


class EncodeOneStep(Stage):
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
    code_policy: ClassVar[Literal["key", "advisory"]] = "advisory"
    libraries: ClassVar[tuple[str, ...]] = ("opencv-python-headless", "torch")

    @classmethod
    def outputs(cls, config: OneStepConfig, inputs: InputFacets) -> Mapping[str, Output]:
        pairs, model = one(inputs, "pairs"), one(inputs, "model")
        if pairs.get("online"):
            raise StageError(ONLINE)
        if {"scale"} <= model.keys() & pairs.keys() and model["scale"] != pairs["scale"]:
            raise StageError(
                f"the model enlarges by {model['scale']}, and the pairs are of scale {pairs['scale']}; connect pairs "
                "of its scale"
            )
        facets: Facets = {"role": "one-step", "mirrored": config.mirrored, "dtype": config.dtype, "parts": 1}
        if (scale := pairs.get("scale")) is not None:
            facets["scale"] = scale
        if (space := model.get("latent_space")) is not None:
            facets["space"] = space
        return {"latents": Output("samples", "answers with index.parquet", facets, config.device == "cpu")}

    @classmethod
    def resources(cls, config: OneStepConfig) -> Resources:
        return Resources(cpus=config.threads, gpus=1 if config.device == "cuda" else 0)

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
