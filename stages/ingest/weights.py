"""``import.weights``: trained weights from outside become a `model` artifact, pinned by their content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from pipelines.stage import (
    Artifact,
    Config,
    Context,
    Facets,
    InputFacets,
    Listing,
    Output,
    Partition,
    Read,
    Source,
    SourceFile,
    Stage,
)
from stages.ingest.download import Progress
from stages.ingest.weights_source import WeightFormat, fetch, hash_weights, list_weights, refuse_other

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class ImportWeightsConfig(Config):
    source: Source
    """A file, a folder, ``http(s)://…``, or ``hf://owner/name[@revision][/file]``. The files of a folder are merged:
    the safetensors in it, else torch's (.pth, .pt, .ckpt, .bin)."""

    sha256: Sha256 | dict[str, Sha256] | None = None
    """What the file must have, or every file of a folder by name. Pinned remote files are not looked for by `plan`."""

    format: WeightFormat = "auto"
    """What the files are; by default their content says it."""

    entry: str | None = None
    """Which state dict of a checkpoint that holds several things: state_dict, params_ema, ema, model …"""

    role: Word = "raw"
    """What the weights are for (lpips, autoencoder, sr …): the facet that slots ask for."""

    family: Word | None = None
    """The network that the weights fit; with it the artifact says how to rebuild the model."""

    constructor: dict[str, JsonValue] = {}
    """Arguments of the family's network."""

    facets: dict[Word, bool | int | float | str] = {}
    """More facts that slots ask for: ``{scale: 4, latent_space: vq-f4}``."""

    @model_validator(mode="after")
    def _fits_together(self) -> ImportWeightsConfig:
        if self.constructor and self.family is None:
            raise ValueError("constructor has no meaning without `family`")
        if taken := {"role", "family"} & set(self.facets):
            raise ValueError(f"facets: {', '.join(sorted(taken))} has a field of its own")
        return self


class ImportWeights(Stage):
    """Read weights, check them against their pin, and keep them as safetensors with sorted names.

    Equal tensors give equal bytes whatever file format, folder, server or file name they came from. Entries:
    ``weights.safetensors``; ``model.json`` (schema, family, constructor) where a family is given. Pickles are read
    for their tensors alone. Credentials for the hub come from HF_TOKEN in the environment of the machine that runs the
    unit. Web and hub are tested against a local server that behaves like them, not against the hub itself.
    S3 addresses are not read.
    """

    name = "import.weights"
    Config = ImportWeightsConfig
    # Advice only: an edit of how files are fetched must not fetch them all again, from places that may be gone.
    code_policy: ClassVar[Literal["key", "advisory"]] = "advisory"
    libraries = ("safetensors",)

    @classmethod
    def outputs(cls, config: ImportWeightsConfig, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {**config.facets, "role": config.role}
        if config.family is not None:
            facets["family"] = config.family
        return {"model": Output("model", "weights from outside", facets)}

    @classmethod
    def list_sources(cls, config: ImportWeightsConfig) -> Mapping[str, Listing]:
        return {"source": list_weights(config.source, config.format, config.sha256)}

    @classmethod
    def hash_sources(
        cls, config: ImportWeightsConfig, listings: Mapping[str, Listing]
    ) -> Mapping[str, Sequence[SourceFile]]:
        return {field: hash_weights(listing) for field, listing in listings.items()}

    @classmethod
    def partitions(
        cls, config: ImportWeightsConfig, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        # One partition, for its key knows the files by their bytes: a touched or moved file is not read again.
        files = sources["source"]
        refuse_other(files, config.sha256)
        reads = (Read("source", file.name, file.sha256, file.location, 0, file.size) for file in files)
        return [Partition("weights", reads=tuple(reads), weight=float(sum(file.size for file in files)))]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.models.state_dicts import merge, read_state
        from stages.models.weights import write_weights

        config: ImportWeightsConfig = ctx.config
        states = {}
        for read in partition.reads:
            path = fetch(read.name, read.sha256, read.entry, ctx.scratch, _progress(ctx, read.name))
            states[read.name] = read_state(path, read.name, config.format, config.entry)
            ctx.log.info("%s: sha256 %s, %d tensors", read.name, read.sha256, len(states[read.name]))
        state = merge(states)
        numbers = {"tensors": len(state), "parameters": sum(tensor.numel() for tensor in state.values())}
        write_weights(ctx.out["model"].path("weights.safetensors", meta=dict(numbers)), state)
        if config.family is not None:
            card = {"schema": 1, "family": config.family, "constructor": config.constructor}
            ctx.out["model"].path("model.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")


def _progress(ctx: Context, name: str) -> Progress:
    return lambda done, total: ctx.progress(done, total, f"bytes of {name}")
