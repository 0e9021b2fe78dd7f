"""What the one-step distillations of a ResShift teacher have in common as stages; their methods are files of their own.

The student is trained on the teacher's own kind of pairs, in the teacher's latent space, and leaves as a model of the
family ``one-step``: one network evaluation an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from pipelines.stage import (
    Context,
    Facets,
    Input,
    InputFacets,
    JsonObject,
    Output,
    facets_of,
)
from stages.data.scale import pair_scale, refuse_other_scale
from stages.methods.training_stage import PAIRS_INPUT, InLatentsConfig, TrainingStage
from stages.training.cached import LATENTS_INPUT, refuse_unfit_latents

if TYPE_CHECKING:
    from torch import Tensor

    from stages.models.one_step import OneStepModel
    from stages.models.resshift import ResShiftModel
    from stages.training.method import Method

    class OneStepMethod(Method, Protocol):
        """A method whose networks hold the `student`, by that name, and keep its average."""

        @property
        def student(self) -> OneStepModel: ...
        @property
        def looks_at_hr(self) -> bool:
            """Whether losses compare images, so that latents will not do."""
            ...


class DistillConfig(InLatentsConfig):
    """The precision of the frozen autoencoder is not the teacher's, who is always computed as its student is: their
    difference is what is learnt from."""


class Distillation(TrainingStage):
    """Base of the stages; a subclass names its `method`, and the facet `distilled` of its students."""

    distilled: ClassVar[str]
    inputs: ClassVar[Mapping[str, Input]] = {
        "pairs": PAIRS_INPUT,
        "teacher": Input("model", "the ResShift model to distil", {"role": "sr", "family": "resshift"}),
        "latents": LATENTS_INPUT,
    }

    def method(self, ctx: Context, teacher: ResShiftModel) -> OneStepMethod:
        """The method around the `teacher`, which it freezes. Called with torch's generator seeded."""
        raise NotImplementedError(f"{type(self).__qualname__}.method")

    @classmethod
    def outputs(cls, config: Any, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {"role": "sr", "family": "one-step", "distilled": cls.distilled}
        pairs, teacher = facets_of(inputs, "pairs"), facets_of(inputs, "teacher")
        facets |= {name: teacher[name] for name in ("scale", "latent_space") if name in teacher}
        refuse_other_scale(pairs.get("scale"), teacher.get("scale"), "teacher")
        refuse_unfit_latents(config.data, inputs, teacher.get("latent_space"))
        return {"model": Output("model", "the student", facets, reproducible=config.device == "cpu")}

    def run(self, ctx: Context) -> None:
        from stages.models.numerics import numerics, seeded
        from stages.models.registry import load_model
        from stages.models.resshift import ResShiftModel
        from stages.training.cached import connected_latents
        from stages.training.distributed import ranks_of
        from stages.training.loader import PairLoader
        from stages.training.loop import Trainer
        from stages.training.pairs import training_pairs
        from stages.training.pictures import HeldOutPictures
        from stages.training.prepare import prepare

        config: DistillConfig = ctx.config
        scale = pair_scale(ctx.inputs["pairs"])
        with numerics(config.threads, reproducible=config.device == "cpu"), ranks_of(ctx) as ranks:
            device = ctx.devices[0] if config.device == "cuda" else "cpu"
            teacher = cast(ResShiftModel, load_model(ctx.inputs["teacher"], device))
            refuse_other_scale(scale, teacher.scale, "teacher")
            with seeded(config.seed):
                method = self.method(ctx, teacher)
            prepare(teacher, config)
            pairs = training_pairs(ctx.inputs["pairs"], config, teacher.multiple)
            latents = connected_latents(ctx.inputs, pairs, config.data, teacher.autoencoder.space)
            pictures = HeldOutPictures.of(ctx.inputs["pairs"], ctx)
            hr = latents is None or method.looks_at_hr
            with PairLoader(pairs, scale, config, ranks, latents=latents, hr=hr) as loader:
                state = Trainer(method, loader, config, ctx, pictures, ranks).run()
        if ctx.rank == 0:  # the others have the same weights
            self._save(ctx, method.student, state.averages["student"].average, set(pairs.images))

    def _save(self, ctx: Context, student: OneStepModel, weights: Mapping[str, Tensor], seen: set[str]) -> None:
        from stages.models.registry import save_model, save_provenance, trained_on

        out, teacher = ctx.out["model"], ctx.inputs["teacher"]
        card: JsonObject = {
            "preprocessing": {"colour": "sRGB", "range": [-1, 1], "padding": "reflect", "multiple": student.multiple},
            "sampler": {"kind": "one-step", "steps": 1},
        }
        save_model(out, student.family, student.constructor, weights, card)
        if "autoencoder" in teacher.manifest.refs:
            out.ref("autoencoder", teacher.ref("autoencoder"))
        save_provenance(out, seen | trained_on(teacher))
        out.facet(scale=student.scale, latent_space=student.autoencoder.space)
