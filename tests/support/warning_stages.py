"""Stages that warn, used as ``tests.support.warning_stages:Warns``: as a whole, or in every partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.artifact import Facets
from pipelines.stage import (
    Artifact,
    Config,
    Context,
    Execution,
    InputFacets,
    Output,
    Partition,
    SourceFile,
    Stage,
    StageError,
)

MODULE = "tests.support.warning_stages"


class Warns(Stage):
    """Warns of each of `texts`, in their order, and of nothing else."""

    name = f"{MODULE}:Warns"

    class Config(Config):
        texts: Execution[tuple[str, ...]] = ("odd: 0.107",)
        fail: bool = False

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {}
        return {"out": Output("metrics", "the same whatever was said", facets)}

    def run(self, ctx: Context) -> None:
        ctx.log.info("no warning")
        for text in ctx.config.texts:
            ctx.log.warning("%s", text)
        if ctx.config.fail:
            raise StageError("told to fail")
        ctx.out["out"].path("metrics.json").write_text("{}")


class WarnsInParts(Warns):
    """Three partitions that warn of the same, and one of something besides."""

    name = f"{MODULE}:WarnsInParts"

    @classmethod
    def partitions(
        cls, config: Warns.Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [Partition(str(i)) for i in range(3)]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        for text in ctx.config.texts:
            ctx.log.warning(text)
        if partition.id == "1":
            ctx.log.warning("partition 1 is odd besides")
            if ctx.config.fail:
                raise StageError("told to fail")
        ctx.out["out"].path(f"{partition.id}.json").write_text("{}")
