"""``degrade.pairs``: photographs become sharded training pairs, each with the recipe of its degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pydantic

from pipelines.stage import (
    Artifact,
    Config,
    Context,
    Facets,
    Input,
    InputFacets,
    JsonObject,
    NameOrFile,
    Output,
    Partition,
    PartitionResult,
    SourceFile,
    Stage,
    StageError,
    is_file_name,
)
from stages.synthesis.shards import Plan, crops_of, plan_shards, shard_name

if TYPE_CHECKING:
    from degrade.presets import Preset
    from stages.synthesis.writer import PairWriter


class PairsConfig(Config):
    preset: NameOrFile = "real-esrgan"
    """Name of a preset of ``degrade/presets/``, or the path of a YAML file with a preset of one's own."""

    scale: Annotated[int, pydantic.Field(ge=1, le=16)] = 4
    """How many times smaller than HR the LR image is."""

    hr_size: Annotated[int, pydantic.Field(ge=8)] = 256
    """Side of the square HR crop in pixels; a multiple of `scale`."""

    crops: Annotated[int, pydantic.Field(ge=1, le=10_000)] | Literal["area"] = 4
    """Pairs from one image: a number, or ``area``: as many crops as would tile the image once, at least one."""

    shards: Annotated[int, pydantic.Field(ge=1, le=100_000)] = 8
    """Images are spread over this many shards by their digest; a shard that gets none is not written."""

    seed: Annotated[int, pydantic.Field(ge=0, lt=2**64)] = 0
    """With image digest and crop number, all that the random choices depend on."""

    on_small: Literal["skip", "fail"] = "skip"
    """What to do about images with a side under `hr_size`: leave them out (and say so), or fail."""

    @pydantic.field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        if not is_file_name(value):  # a file is read when the key is taken; a worker need not have it
            from degrade.presets import load_preset

            load_preset(value)
        return value

    @pydantic.model_validator(mode="after")
    def _whole_lr_size(self) -> PairsConfig:
        if self.hr_size % self.scale:
            nearest = max(1, round(self.hr_size / self.scale)) * self.scale
            raise ValueError(
                f"hr_size {self.hr_size} is not a multiple of scale {self.scale}; the nearest is {nearest}"
            )
        return self


class DegradePairs(Stage):
    """Crop and degrade every image; one tar shard a partition, which any WebDataset reader opens.

    A sample is ``<key>.hr.png``, ``<key>.json`` (source digest, crop, split and the whole recipe) and
    ``<key>.lr.png``. Its bytes depend on the image's bytes, the config and the library versions only.
    """

    name = "degrade.pairs"
    Config = PairsConfig
    inputs: ClassVar[Mapping[str, Input]] = {"images": Input("images", "photographs to crop and degrade")}
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "opencv-python-headless")

    @classmethod
    def outputs(cls, config: PairsConfig, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {"role": "pairs", "scale": config.scale, "hr_size": config.hr_size}
        return {"pairs": Output("samples", "shards of HR / LR pairs with index.parquet", facets)}

    @classmethod
    def identity(cls, config: PairsConfig) -> JsonObject:
        return {**config.model_dump(mode="json"), "preset": _resolve(config.preset)}

    @classmethod
    def partitions(
        cls, config: PairsConfig, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        plan = _plan(config, inputs["images"])
        if plan.too_small and (config.on_small == "fail" or not plan.partitions):
            raise StageError(
                f"{len(plan.too_small)} images have a side under hr_size {config.hr_size}: {_some(plan.too_small)}; "
                "lower `hr_size`, raise `min_size` where they are ingested, or set on_small: skip"
            )
        return plan.partitions if not is_file_name(config.preset) else _carry_preset(plan, config.preset)

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.data.pixels import single_threaded
        from stages.data.tables import write_table
        from stages.data.tar import TarWriter
        from stages.synthesis.writer import PairWriter

        single_threaded()
        config: PairsConfig = ctx.config
        shard, preset = int(partition.id), _preset_of(partition, config)
        path = ctx.out["pairs"].path(shard_name(shard))
        with TarWriter(path) as tar:
            writer = PairWriter(tar, preset, seed=config.seed, scale=config.scale, hr_size=config.hr_size)
            _write_pairs(ctx, partition, writer)
        index = ctx.out["pairs"].path(f"index-{shard:05d}.parquet", derived=True)
        write_table(writer.table(), index)

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        from stages.data.tables import INDEX, merge_tables, write_table

        entries = [entry for part in parts for entry in part.entries["pairs"]]
        for entry in entries:
            if not entry.derived:
                ctx.out["pairs"].keep(entry)
        index = merge_tables([ctx.part_file(entry) for entry in entries if entry.derived], ["shard", "key"])
        write_table(index, ctx.out["pairs"].path(INDEX, derived=True))
        too_small = _plan(ctx.config, ctx.inputs["images"]).too_small
        ctx.metrics(0, pairs=index.num_rows, shards=len(parts), images_too_small=len(too_small))
        if too_small:
            ctx.log.warning(
                "%d images left out, a side under hr_size %d: %s", len(too_small), ctx.config.hr_size, _some(too_small)
            )


def _write_pairs(ctx: Context, partition: Partition, writer: PairWriter) -> None:
    """Write all pairs of a shard, one image in memory at a time."""
    from degrade.errors import DegradeError
    from stages.data.pixels import Undecodable, decode_rgb

    config: PairsConfig = ctx.config
    done = 0
    for read in partition.reads:
        split = _split(partition, read.name)
        try:
            image = decode_rgb(ctx.read(read))
            height, width = image.shape[:2]
            for crop in range(crops_of(width, height, config.hr_size, config.crops)):
                writer.add(image, read.name, crop, split)
                done += 1
                ctx.progress(done, partition.weight, "pairs")
        except (DegradeError, Undecodable) as error:
            raise StageError(f"image {read.name} ({read.entry}) gave no pair: {error}") from error


def _resolve(preset: str) -> JsonObject:
    """The values behind a preset's name or path."""
    from degrade.errors import DegradeError
    from degrade.presets import load_preset

    try:
        return load_preset(preset).model_dump(mode="json")
    except DegradeError as error:
        raise StageError(str(error)) from error


def _carry_preset(plan: Plan, preset: str) -> Sequence[Partition]:
    """A preset of the user's own travels with the work: its file lies beside the spec, not on the workers."""
    values = _resolve(preset)
    return [replace(part, params={**part.params, "preset": values}) for part in plan.partitions]


def _preset_of(partition: Partition, config: PairsConfig) -> Preset:
    from degrade.presets import Preset, load_preset

    carried = partition.params.get("preset")
    return Preset.model_validate(carried) if carried else load_preset(config.preset)


def _split(partition: Partition, image: str) -> str:
    named: Mapping[str, Any] = partition.params
    return next((split for split in ("val", "test") if image in named[split]), "train")


def _plan(config: PairsConfig, images: Artifact) -> Plan:
    columns = ["image", "name", "entry", "offset", "size", "width", "height", "split"]
    rows = images.table().select(columns).to_pylist()
    return plan_shards(rows, shards=config.shards, hr_size=config.hr_size, crops=config.crops)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
