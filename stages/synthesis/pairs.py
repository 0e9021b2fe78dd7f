"""``degrade.pairs``: photographs become sharded training pairs, each with the recipe of its degradation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pipelines.stage import (
    Artifact,
    Context,
    Facets,
    Input,
    InputFacets,
    JsonObject,
    Output,
    Partition,
    PartitionResult,
    SourceFile,
    Stage,
    StageError,
    is_file_name,
)
from stages.synthesis.config import PairsConfig
from stages.synthesis.online import assemble, probe_partition, run_probe
from stages.synthesis.shards import Plan, index_name, plan_shards, shard_name, splits_of

if TYPE_CHECKING:
    from degrade.presets import Preset
    from stages.synthesis.pair import PairMaker
    from stages.synthesis.writer import PairWriter


class DegradePairs(Stage):
    """Crop and degrade every image; one tar shard a partition, which any WebDataset reader opens.

    A sample is ``<key>.hr.png``, ``<key>.json`` (source digest, crop, split and the whole recipe) and
    ``<key>.lr.png`` (or ``.webp``, ``.jpg``: see `encoding`). Its bytes depend on the image's bytes, the config and
    the library versions only. A worker holds one decoded photograph at a time and what one pair takes to render.

    With ``online: true`` it leaves the rules only, and the pairs are made where they are read.
    """

    name = "degrade.pairs"
    Config = PairsConfig
    inputs: ClassVar[Mapping[str, Input]] = {"images": Input("images", "photographs to crop and degrade")}
    # albumentations over-sharpens, pillow encodes WebP, scipy's Bessel function decides the taps of sinc kernels.
    libraries: ClassVar[tuple[str, ...]] = ("albumentations", "numpy", "opencv-python-headless", "pillow", "scipy")

    @classmethod
    def outputs(cls, config: PairsConfig, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {"role": "pairs", "scale": config.scale, "hr_size": config.hr_size}
        if config.online:
            facets["online"] = True
        return {"pairs": Output("samples", "shards of HR / LR pairs with index.parquet", facets)}

    @classmethod
    def demands(cls, config: PairsConfig) -> Mapping[str, Facets]:
        _resolve(config.preset)  # asked where the spec is read, and only there: a preset's file has to be here now
        return {}

    @classmethod
    def identity(cls, config: PairsConfig) -> JsonObject:
        return {**config.model_dump(mode="json"), "crops": config.cut.crops, "preset": _resolve(config.preset)}

    @classmethod
    def partitions(
        cls, config: PairsConfig, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        plan = _plan(config, inputs["images"])
        if plan.too_small and (config.on_small == "fail" or not plan.partitions):
            raise StageError(
                f"{len(plan.too_small)} images have a side under {config.least}: {_some(plan.too_small)}; "
                "lower `hr_size`, raise `min_size` where they are ingested, or set on_small: skip"
            )
        if config.online and plan.partitions:
            return [probe_partition(plan, _resolve(config.preset), inputs["images"])]
        return plan.partitions if not is_file_name(config.preset) else _carry_preset(plan, config.preset)

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.data.pixels import single_threaded

        single_threaded()
        (run_probe if ctx.config.online else _write_shard)(ctx, partition)

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        config: PairsConfig = ctx.config
        plan = _plan(config, ctx.inputs["images"])
        pairs = assemble(ctx, plan, parts) if config.online else _gather(ctx, parts)
        shards, too_small = 0 if config.online else len(parts), plan.too_small
        ctx.metrics(0, pairs=pairs, shards=shards, images_too_small=len(too_small))
        if too_small:
            ctx.log.warning("%d images left out, a side under %s: %s", len(too_small), config.least, _some(too_small))


def _gather(ctx: Context, parts: Sequence[PartitionResult]) -> int:
    """Put the finished shards and one index of all of them into the artifact; the number of pairs."""
    from stages.data.tables import INDEX, merge_tables, write_table

    entries = [entry for part in parts for entry in part.entries["pairs"]]
    for entry in entries:
        if not entry.derived:
            ctx.out["pairs"].keep(entry)
    index = merge_tables([ctx.part_file(entry) for entry in entries if entry.derived], ["shard", "key"])
    write_table(index, ctx.out["pairs"].path(INDEX, derived=True))
    return int(index.num_rows)


def _write_shard(ctx: Context, partition: Partition) -> None:
    from stages.data.tables import write_table
    from stages.data.tar import TarWriter
    from stages.synthesis.pair import PairMaker
    from stages.synthesis.writer import PairWriter

    config: PairsConfig = ctx.config
    preset = _preset_of(partition, config)
    maker = PairMaker(preset, config.seed, config.scale, config.cut.hr_size, config.encoding)
    with TarWriter(ctx.out["pairs"].path(shard_name(partition.id))) as tar:
        writer = PairWriter(tar)
        _write_pairs(ctx, partition, maker, writer)
    write_table(writer.table(preset), ctx.out["pairs"].path(index_name(partition.id), derived=True))


def _write_pairs(ctx: Context, partition: Partition, maker: PairMaker, writer: PairWriter) -> None:
    """Write all pairs of a shard, one image in memory at a time."""
    from degrade.errors import DegradeError
    from stages.data.encoders import Unencodable
    from stages.data.pixels import Undecodable

    config: PairsConfig = ctx.config
    splits = splits_of(partition)
    done = 0
    for read in partition.reads:
        try:
            photo = maker.read(ctx.read(read), read.name, splits.get(read.name, "train"))
            height, width = photo.pixels.shape[:2]
            for crop in range(config.cut.pairs(width, height)):
                writer.add(maker.make(photo, crop))
                done += 1
                ctx.progress(done, partition.weight, "pairs")
        except (DegradeError, Undecodable, Unencodable) as error:
            raise StageError(f"image {read.name} ({read.entry}) gave no pair: {error}") from error
        del photo  # before the next one is read


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


def _plan(config: PairsConfig, images: Artifact) -> Plan:
    columns = ["image", "name", "entry", "offset", "size", "width", "height", "split"]
    rows = images.table().select(columns).to_pylist()
    return plan_shards(rows, config.cut, shards=config.shards, budget=config.shard_samples)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
