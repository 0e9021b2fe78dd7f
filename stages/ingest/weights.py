"""``import.weights``: trained weights from outside become a `model` artifact, pinned by their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from pipelines.stage import (
    Absent,
    Artifact,
    Config,
    Context,
    Facets,
    Input,
    InputFacets,
    JsonObject,
    Listing,
    Output,
    Partition,
    PartitionResult,
    Read,
    Source,
    SourceFile,
    Stage,
    StageError,
)
from stages.ingest.download import Progress
from stages.ingest.weights_source import WeightFormat, fetch, hash_weights, list_weights, refuse_other
from stages.models.config import AUTOENCODER_INPUT, SPACE, require_autoencoder, space_facets
from stages.models.constructors import AUTOENCODERS, Constructor, ResShiftConstructor, constructor_of, stated_facets

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    """Which state dict of a checkpoint that holds several: state_dict, params_ema, ema, model …"""

    role: Word = "raw"
    """What the weights are for (lpips, autoencoder, sr …): the facet that slots ask for."""

    family: Word | None = None
    """The network that the weights fit: vq, kl and tiny (TAESD) are autoencoders, resshift super-resolves. With it
    the weights are checked against the network, and the artifact says how to rebuild the model. Files may have the
    names of the published ones."""

    constructor: dict[str, JsonValue] = {}
    """Arguments of the family's network, where they differ from the published: ``process: {timesteps: 4,
    min_noise: 0.2}`` for ResShift v3."""

    latent_space: Annotated[Annotated[str, Field(pattern=SPACE)] | None, Absent(None)] = None
    """The latents that a model was trained on: ``vq-f4c3`` (family, factor, channels), or with the digest of the
    encoder the facet `space` of one autoencoder. The connected one must have it."""

    facets: dict[Word, bool | int | float | str] = {}
    """More facts that slots ask for. Those that the artifact states by itself must be equal: ``{space: …}`` pins
    what an autoencoder comes out as."""

    @model_validator(mode="after")
    def _fits_together(self) -> ImportWeightsConfig:
        if self.constructor and self.family is None:
            raise ValueError("constructor has no meaning without `family`")
        if taken := {"role", "family"} & set(self.facets):
            raise ValueError(f"facets: {', '.join(sorted(taken))} has a field of its own")
        if (self.role == "autoencoder") != (self.family in AUTOENCODERS):
            raise ValueError(
                f"role autoencoder and the families {', '.join(AUTOENCODERS)} belong together; "
                f"got role: {self.role}, family: {self.family}"
            )
        known = self.network
        if isinstance(known, ResShiftConstructor):
            self._refuse_odd_model(known)
        elif self.latent_space is not None:
            raise ValueError("latent_space has a meaning for `family: resshift` alone, whose latents it names")
        for name, value in (stated_facets(known) if known is not None else {}).items():
            if self.facets.get(name, value) != value:
                raise ValueError(f"facets: {name} is {value!r} by the constructor, not {self.facets[name]!r}")
        return self

    def _refuse_odd_model(self, known: ResShiftConstructor) -> None:
        if self.role != "sr":
            raise ValueError(f"family resshift super-resolves: expected role: sr, got {self.role}")
        if "latent_space" in self.facets:
            raise ValueError("facets: latent_space has a field of its own")
        if (known.autoencoder == "artifact") != (self.latent_space is not None):
            raise ValueError(
                "latent_space: expected the latents that the weights were trained on (latent_space: vq-f4c3) exactly "
                f"where constructor.autoencoder is artifact; got {self.latent_space} and {known.autoencoder}"
            )

    @property
    def network(self) -> Constructor | None:
        """The whole constructor; None for a family that is not known here, which is kept as it is given."""
        return constructor_of(self.family, self.constructor)


class ImportWeights(Stage):
    """Read weights, check them against their pin, and keep them as safetensors with sorted names.

    Equal tensors give equal bytes whatever file format, folder, server or file name they came from. Entries:
    ``weights.safetensors``; ``model.json`` where a family is given. With a family that is known here the tensors get
    our names, the rest of a checkpoint is left out, and the artifact has the facets of one that a stage has trained: an
    autoencoder fits the slot of any training stage, and a ResShift model with its autoencoder connected (kept as
    ref `autoencoder`) is complete. Pickles are read for their tensors alone. Credentials for the hub come from
    HF_TOKEN in the environment of the machine that runs the unit. Web and hub are tested against a local server that
    behaves like them, not against the hub itself. S3 addresses are not read.
    """

    name = "import.weights"
    version = 2
    Config = ImportWeightsConfig
    inputs: ClassVar[Mapping[str, Input]] = {"autoencoder": AUTOENCODER_INPUT}
    # Advice only: an edit of how files are fetched must not fetch them all again, from places that may be gone.
    code_policy: ClassVar[Literal["key", "advisory"]] = "advisory"
    libraries = ("safetensors",)

    @classmethod
    def outputs(cls, config: ImportWeightsConfig, inputs: InputFacets) -> Mapping[str, Output]:
        known = config.network
        if isinstance(known, ResShiftConstructor):
            require_autoencoder(known.autoencoder, inputs)
        elif "autoencoder" in inputs:
            raise StageError(
                "the input autoencoder is for `family: resshift`, which works in its latents; disconnect it"
            )
        facets: Facets = {**config.facets, "role": config.role}
        if config.family is not None:
            facets["family"] = config.family
        if known is not None:
            facets |= stated_facets(known)
        connected = inputs.get("autoencoder")
        if isinstance(connected, Mapping) and "space" in connected:
            facets["latent_space"] = connected["space"]
        return {"model": Output("model", "weights from outside", facets)}

    @classmethod
    def demands(cls, config: ImportWeightsConfig) -> Mapping[str, Facets]:
        return {"autoencoder": space_facets(config.latent_space)} if config.latent_space is not None else {}

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
        # One partition, for its key knows the files by their bytes: a touched or moved file is not read again. Of the
        # autoencoder the shape of its latents is all that these weights depend on.
        files = sources["source"]
        refuse_other(files, config.sha256)
        reads = (Read("source", file.name, file.sha256, file.location, 0, file.size) for file in files)
        latents: JsonObject = {name: inputs["autoencoder"].facets[name] for name in ("channels", "factor") if inputs}
        return [Partition("weights", latents, tuple(reads), float(sum(file.size for file in files)))]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.models.keymaps.published import PREFIXES
        from stages.models.state_dicts import merge, read_state
        from stages.models.weights import write_weights

        config: ImportWeightsConfig = ctx.config
        states = {}
        for read in partition.reads:
            path = fetch(read.name, read.sha256, read.entry, ctx.scratch, _progress(ctx, read.name))
            prefix = PREFIXES.get(config.family or "")
            states[read.name] = read_state(path, read.name, config.format, config.entry, prefix)
            ctx.log.info("%s: sha256 %s, %d tensors", read.name, read.sha256, len(states[read.name]))
        state, said = (merge(states), {}) if config.network is None else _fitted(ctx, states)
        said |= {"tensors": len(state), "parameters": sum(tensor.numel() for tensor in state.values())}
        write_weights(ctx.out["model"].path("weights.safetensors", meta=said), state)

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        from stages.models.registry import save_card

        config: ImportWeightsConfig = ctx.config
        out = ctx.out["model"]
        (weights,) = parts[0].entries["model"]
        out.keep(weights)
        if config.network is not None:
            from stages.models.imported import card_of

            module = _network(ctx)
            save_card(out, str(config.family), module.constructor, card_of(module))
        elif config.family is not None:
            save_card(out, config.family, config.constructor, {})
        if "space" in weights.meta:
            out.facet(space=str(weights.meta["space"]))
        if "autoencoder" in ctx.inputs:
            out.ref("autoencoder", ctx.inputs["autoencoder"])
            out.facet(latent_space=str(ctx.inputs["autoencoder"].facets["space"]))


def _network(ctx: Context) -> Any:
    """The module of the config's family on the meta device, around the autoencoder that is connected."""
    from stages.models.imported import network
    from stages.models.registry import read_card

    config: ImportWeightsConfig = ctx.config
    assert config.family is not None
    assert config.network is not None
    connected = ctx.inputs.get("autoencoder")
    return network(config.family, config.network, read_card(connected) if connected is not None else None)


def _fitted(ctx: Context, states: Mapping[str, Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors under the names of their network, and what is known of them besides: the space of an autoencoder."""
    from stages.models.imported import fit, space_of, wrong_mask

    config: ImportWeightsConfig = ctx.config
    assert config.family is not None
    assert config.network is not None
    if wrong_mask(states, config.family, config.network):
        ctx.log.warning(
            "the released ResShift weights were trained with another attention mask; unless these were not, set "
            "constructor: {network: {legacy_shift_mask: true}}"
        )
    module: nn.Module = _network(ctx)
    state = fit(states, config.family, module)
    space = space_of(module, state)
    return state, {"space": space} if space is not None else {}


def _progress(ctx: Context, name: str) -> Progress:
    return lambda done, total: ctx.progress(done, total, f"bytes of {name}")
