"""``train.edge_unet``: the first stage of Edge-SD-SR (Hadji et al., arXiv 2412.06978), the UNet.

A UNet of half the width of Stable Diffusion's learns to tell the HR latent from one that a forward process has moved
towards the LR latent (`stages/diffusion/bidirectional.py`). Both latents are of the frozen HR autoencoder here, that of
LR by way of the enlarged image; so what is learnt is the UNet's alone, and caches of latents serve. The settings are in
`edge_config.py`, the loss in `edge_method.py`, a teacher's part in it in `edge_teacher.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pipelines.stage import Context, Input, InputFacets, Output, StageError, facets_of
from stages.methods.edge_config import EdgeUNetConfig
from stages.methods.edge_stage import EdgeStage
from stages.methods.training_stage import PAIRS_INPUT
from stages.models.config import AUTOENCODER_INPUT, latent_space, require_autoencoder
from stages.training.cached import LATENTS_INPUT, refuse_unfit_latents

if TYPE_CHECKING:
    from stages.methods.edge_teacher import EdgeTeacher
    from stages.models.edge.model import EdgeModel
    from stages.models.latent_space import TrainedAutoencoder


class TrainEdgeUNet(EdgeStage):
    """Train a one-step UNet in a frozen latent space; the artifact holds its averaged weights."""

    name = "train.edge_unet"
    Config = EdgeUNetConfig
    part = "unet"
    inputs: ClassVar[Mapping[str, Input]] = {
        "pairs": PAIRS_INPUT,
        "autoencoder": AUTOENCODER_INPUT,
        "latents": LATENTS_INPUT,
        "teacher": Input(
            "model", "a model whose answers are the target: of a smaller scale, or a larger model", {"role": "sr"},
            optional=True,
        ),
        "initial": Input(
            "model", "a UNet of Stable Diffusion, in diffusers' names (import.weights, role: unet): the weights begin "
            "as its first channels", {"role": "unet"}, optional=True,
        ),
    }  # fmt: skip

    @classmethod
    def outputs(cls, config: EdgeUNetConfig, inputs: InputFacets) -> Mapping[str, Output]:
        require_autoencoder(config.autoencoder, inputs)
        scale, space = facets_of(inputs, "pairs").get("scale"), latent_space(config.autoencoder, inputs)
        refuse_unfit_latents(config.data, inputs, space)
        _refuse_unfit_teacher(config, inputs, scale, space)
        if "initial" in inputs and config.residual:
            raise StageError(
                "residual: Stable Diffusion's UNet answers v or noise, not what is missing to the LR latent; set "
                "residual: false (and process.prediction: v for weights that answer v)"
            )
        return cls.model_output(config, "the UNet", scale, space)

    def run(self, ctx: Context) -> None:
        from stages.data.scale import pair_scale
        from stages.methods.edge_method import EdgeMethod
        from stages.models.connected import connected_autoencoder
        from stages.models.numerics import numerics, seeded
        from stages.training.cached import connected_latents
        from stages.training.distributed import ranks_of
        from stages.training.loader import PairLoader
        from stages.training.loop import Trainer
        from stages.training.pairs import training_pairs
        from stages.training.pictures import HeldOutPictures

        config: EdgeUNetConfig = ctx.config
        scale = pair_scale(ctx.inputs["pairs"])
        autoencoder = connected_autoencoder(ctx.inputs, config.autoencoder)
        with numerics(config.threads, reproducible=config.device == "cpu"), ranks_of(ctx) as ranks:
            with seeded(config.seed):
                model = _new_model(ctx, autoencoder, scale)
            space = model.autoencoder.space
            model.to(ctx.devices[0] if config.device == "cuda" else "cpu")
            teacher = _teacher(ctx, scale)
            pairs = training_pairs(ctx.inputs["pairs"], config, model.multiple)
            latents = connected_latents(ctx.inputs, pairs, config.data, space)
            method = EdgeMethod(model, config, teacher)
            pictures = HeldOutPictures.of(ctx.inputs["pairs"], ctx)
            hr = latents is None or (teacher is not None and teacher.looks_at_hr)
            with PairLoader(pairs, scale, config, ranks, latents=latents, hr=hr) as loader:
                state = Trainer(method, loader, config, ctx, pictures, ranks).run()
        if ctx.rank == 0:  # the others have the same weights
            self.save(ctx, model, state.averages["model"].average, space, pairs.images)


def _new_model(ctx: Context, autoencoder: str | TrainedAutoencoder, scale: int) -> EdgeModel:
    """Freshly initialised, or with the first channels of the connected weights. On the CPU."""
    from stages.models.autoencoders import build_autoencoder
    from stages.models.edge.model import EdgeModel
    from stages.models.edge.slicing import slice_unet
    from stages.models.weights import read_weights

    config: EdgeUNetConfig = ctx.config
    held = build_autoencoder(autoencoder, scale) if isinstance(autoencoder, str) else autoencoder
    settings = config.model_dump(mode="json", include={"network", "process", "residual"})
    latent = {"channels": held.channels, "factor": held.factor}
    try:
        model = EdgeModel(scale=scale, latent=latent, encoder=None, decoder=None, autoencoder=autoencoder, **settings)
        if "initial" in ctx.inputs:
            sliced = slice_unet(read_weights(ctx.inputs["initial"].open("weights.safetensors")), model.network)
            model.network.load_state_dict(sliced.state)
            ctx.log.info("%d of %d tensors begin anew: not among the given weights",
                         len(sliced.fresh), len(sliced.state))  # fmt: skip
    except ValueError as error:
        raise StageError(str(error)) from error
    return model


def _teacher(ctx: Context, scale: int) -> EdgeTeacher | None:
    from stages.methods.edge_teacher import EdgeTeacher
    from stages.models.registry import load_model
    from stages.training.prepare import prepare

    config: EdgeUNetConfig = ctx.config
    if config.teacher is None:
        return None
    device = ctx.devices[0] if config.device == "cuda" else "cpu"
    teacher = EdgeTeacher(load_model(ctx.inputs["teacher"], device), scale, config.teacher.weight)
    prepare(teacher.model, config)
    return teacher


TEACHERS = ("edge", "resshift", "one-step")


def _refuse_unfit_teacher(config: EdgeUNetConfig, inputs: InputFacets, scale: object, space: object) -> None:
    if ("teacher" in inputs) != (config.teacher is not None):
        raise StageError(
            "the input teacher and the section `teacher` belong together: connect a model (inputs: {teacher: <stage>}) "
            "and say how it is listened to (teacher: {weight: 1}), or leave both out"
        )
    teacher = facets_of(inputs, "teacher")
    family, its_scale, its_space = (teacher.get(name) for name in ("family", "scale", "latent_space"))
    if family is not None and family not in TEACHERS:
        raise StageError(f"teacher: expected a model of family {', '.join(TEACHERS)}, got {family!r}")
    if isinstance(scale, int) and isinstance(its_scale, int) and scale % its_scale:
        raise StageError(
            f"teacher: it enlarges by {its_scale}, the pairs are of scale {scale}; expected a scale that divides "
            "theirs, so that its LR images can be made of HR ones"
        )
    if space is not None and its_space is not None and space != its_space:
        raise StageError(
            f"teacher: its latents are those of {its_space}, this training's of {space}; connect a teacher that was "
            "trained with the same autoencoder"
        )
