"""``degrade.pairs``: photographs become sharded training pairs, each with the recipe of its degradation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
    Output,
    Partition,
    PartitionResult,
    SourceFile,
    Stage,
    StageError,
)
from stages.synthesis.shards import Plan, crops_of, plan_shards, sample_key, shard_name

if TYPE_CHECKING:
    from degrade.presets import Preset
    from stages.data.tar import TarWriter

COLUMNS = {
    "key": "string", "shard": "string", "split": "string", "image": "string", "crop": "int32",
    "offset": "int64", "size": "int64", "sha256": "string",
    "hr_offset": "int64", "hr_size": "int64", "hr_ext": "string",
    "lr_offset": "int64", "lr_size": "int64", "lr_ext": "string",
    "json_offset": "int64", "json_size": "int64",
}  # fmt: skip


class PairsConfig(Config):
    preset: str = "real-esrgan"
    """Name of a preset of ``degrade/presets/``, or the path of a YAML file with a preset of one's own."""

    scale: Annotated[int, pydantic.Field(ge=1, le=16)] = 4
    """How many times smaller than HR the LR image is."""

    hr_size: Annotated[int, pydantic.Field(ge=8)] = 256
    """Side of the square HR crop in pixels; a multiple of `scale`."""

    crops: Annotated[int, pydantic.Field(ge=1, le=10_000)] | Literal["area"] = 4
    """Pairs from one image: a number, or ``area``: as many crops as would tile the image once, at least one."""

    shards: Annotated[int, pydantic.Field(ge=1, le=100_000)] = 8
    """Images are spread over this many shards by their digest; a shard that gets none is not written."""

    seed: int = 0
    """With image digest and crop number, all that the random choices depend on."""

    on_small: Literal["skip", "fail"] = "skip"
    """What to do about images with a side under `hr_size`: leave them out (and say so), or fail."""

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
        return {**config.model_dump(mode="json"), "preset": _preset_values(config.preset)}

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
        return plan.partitions

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.data.pixels import single_threaded
        from stages.data.tables import rows_table, write_table
        from stages.data.tar import TarWriter

        single_threaded()
        shard = int(partition.id)
        path = ctx.out["pairs"].path(shard_name(shard), meta={"shard": shard})
        with TarWriter(path) as tar:
            rows = list(_write_pairs(ctx, partition, tar))
        index = ctx.out["pairs"].path(f"index-{shard:05d}.parquet", derived=True)
        write_table(rows_table(rows, COLUMNS), index)

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


def _write_pairs(ctx: Context, partition: Partition, tar: TarWriter) -> Iterator[dict[str, Any]]:
    """Write all pairs of a shard, one image in memory at a time; yields their index rows."""
    from stages.data.pixels import decode_rgb

    config: PairsConfig = ctx.config
    preset = _preset(partition, config)
    total, done = partition.weight, 0
    for read in partition.reads:
        image = decode_rgb(ctx.read(read))
        height, width = image.shape[:2]
        for crop in range(crops_of(width, height, config.hr_size, config.crops)):
            yield _write_pair(config, preset, tar, image, read.name, crop, _split(partition, read.name))
            done += 1
            ctx.progress(done, total, "pairs")


def _write_pair(
    config: PairsConfig, preset: Preset, tar: TarWriter, image: NDArray[np.uint8], digest: str, crop: int, split: str
) -> dict[str, Any]:
    """Draw, render, encode and append one pair; returns its index row."""
    from degrade.engine import render
    from degrade.recipe import sample_recipe
    from stages.data.pixels import encode_png

    recipe = sample_recipe(
        preset,
        seed=config.seed,
        image=digest,
        crop=crop,
        image_size=(image.shape[0], image.shape[1]),
        hr_size=config.hr_size,
        scale=config.scale,
    )
    hr, lr = render(image, recipe)
    key = sample_key(digest, crop)
    about = {"crop": crop, "image": digest, "recipe": recipe.to_json(), "split": split}
    payloads = {"hr.png": encode_png(hr), "json": _encode(about), "lr.png": encode_png(lr)}
    group = tar.add((f"{key}.{part}", payload) for part, payload in payloads.items())
    hr_at, json_at, lr_at = group.members
    return {
        "key": key, "shard": tar.path.name, "split": split, "image": digest, "crop": crop,
        "offset": group.offset, "size": group.size, "sha256": group.sha256,
        "hr_offset": hr_at.offset, "hr_size": hr_at.size, "hr_ext": "png",
        "lr_offset": lr_at.offset, "lr_size": lr_at.size, "lr_ext": "png",
        "json_offset": json_at.offset, "json_size": json_at.size,
        **recipe.columns(),
    }  # fmt: skip


def _encode(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _split(partition: Partition, image: str) -> str:
    named: Mapping[str, Any] = partition.params
    return next((split for split in ("val", "test") if image in named[split]), "train")


def _plan(config: PairsConfig, images: Artifact) -> Plan:
    columns = ["image", "name", "entry", "offset", "size", "width", "height", "split"]
    rows = images.table().select(columns).to_pylist()
    return plan_shards(rows, shards=config.shards, hr_size=config.hr_size, crops=config.crops)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
