"""``degrade.pairs`` with ``online: true``: an artifact that says how its pairs are made, and holds no pixels of them.

Its content is the rules (``online.json``) and the digests of a few pairs (``probe.json``): where an edit of the code or
another library changes the pixels, the artifact changes too, and what was trained on it is trained again, as it would
be with stored pairs. Index and photographs are derived entries. The photographs' packs are those of the `images`
artifact, carried over by digest: no byte is copied, and since they are no content, renaming or repacking photographs
changes nothing for those who train on the pairs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pipelines.stage import Artifact, Context, JsonObject, Partition, PartitionResult, Read, StageError, digest
from stages.synthesis.shards import KEY_DIGITS, Cut, Plan, sample_key, shard_name, splits_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

    from stages.synthesis.config import PairsConfig

    Pixels = NDArray[np.uint8]

PROBES: Final = 6
"""Photographs of each split whose first pair is looked at."""

PICTURES: Final = 4


def probe_partition(plan: Plan, preset: JsonObject) -> Partition:
    """The one unit of work: render the first pair of the first photographs of each split, in the index's order."""
    found: dict[str, list[Read]] = {"train": [], "val": [], "test": []}
    for part in sorted(plan.partitions, key=lambda part: shard_name(part.id)):
        split_of = splits_of(part)
        for read in part.reads:
            split = split_of.get(read.name, "train")
            if len(found[split]) < PROBES:
                found[split].append(read)
    reads = tuple(read for split in found.values() for read in split)
    return Partition("probe", {"preset": preset}, reads, weight=float(len(reads)))


def run_probe(ctx: Context, part: Partition) -> None:
    """Make the probed pairs: their digests are content, the first of them pictures for the report."""
    from stages.data.rules import PROBE, pair_digest

    found = {}
    for done, read in enumerate(part.reads, 1):
        key, (lr, hr) = sample_key(read.name, 0), _render(ctx, part, read)
        found[key] = pair_digest(lr, hr)
        if done <= PICTURES:
            _show(ctx, key, lr, hr)
        ctx.progress(done, len(part.reads), "pairs")
    ctx.out["pairs"].path(PROBE).write_text(json.dumps({"schema": 1, "pairs": found}, sort_keys=True, indent=1) + "\n")


def _render(ctx: Context, part: Partition, read: Read) -> tuple[Pixels, Pixels]:
    """(lr, hr) of the first pair of one photograph."""
    from degrade.engine import render
    from degrade.errors import DegradeError
    from degrade.preset import Preset
    from degrade.recipe import sample_recipe
    from stages.data.pixels import Undecodable, decode_rgb

    config: PairsConfig = ctx.config
    try:
        photograph = decode_rgb(ctx.read(read))
        recipe = sample_recipe(
            Preset.model_validate(part.params["preset"]),
            seed=config.seed,
            image=read.name,
            crop=0,
            image_size=(photograph.shape[0], photograph.shape[1]),
            hr_size=config.cut.hr_size,
            scale=config.scale,
        )
        hr, lr = render(photograph, recipe)
    except (DegradeError, Undecodable) as error:
        raise StageError(f"image {read.name} ({read.entry}) gave no pair: {error}") from error
    return lr, hr


def _show(ctx: Context, key: str, lr: Pixels, hr: Pixels) -> None:
    from stages.data.pixels import encode_png

    for what, pixels in (("lr", lr), ("hr", hr)):
        size = f"{what.upper()} {pixels.shape[1]}x{pixels.shape[0]}"
        ctx.image(f"{key}/{what}", encode_png(pixels), caption=f"{size}, made on line")


def assemble(ctx: Context, plan: Plan, parts: Sequence[PartitionResult]) -> int:
    """Write the artifact from the probe and the image index; the number of pairs of one epoch."""
    from stages.data.rules import RULES, Rules
    from stages.data.tables import INDEX, write_table

    config: PairsConfig = ctx.config
    out, images = ctx.out["pairs"], ctx.inputs["images"]
    (probe,) = parts
    for entry in probe.entries["pairs"]:
        out.keep(entry)
    photographs = _photographs(plan, images, config.cut)
    columns = ("image", "split", "width", "height", "crops")
    lines = [" ".join(map(str, row)) for row in zip(*(photographs[name].to_pylist() for name in columns), strict=True)]
    index = _pairs(photographs)
    preset = probe.partition.params["preset"]
    assert isinstance(preset, dict)
    # Their order too is content: it decides which pair a training step sees, and is all that shards mean here.
    Rules(preset, config.seed, config.scale, config.cut.hr_size).write(out.path(RULES), digest([*lines]))
    write_table(index, out.path(INDEX, derived=True))
    for pack in photographs["pack"].unique().to_pylist():
        out.keep(replace(images.manifest.entry(pack), derived=True))
    return int(index.num_rows)


def _photographs(plan: Plan, images: Artifact, cut: Cut) -> pyarrow.Table:
    """The photographs that give pairs, in the order of shards and digests, with the number of pairs of each."""
    import pyarrow

    table = images.table()
    known = [table[name].to_pylist() for name in ("image", "width", "height")]
    sizes = {image: (width, height) for image, width, height in zip(*known, strict=True)}
    rows = []
    for part in plan.partitions:
        shard, split_of = shard_name(part.id), splits_of(part)
        for read in part.reads:
            width, height = sizes[read.name]
            split, crops = split_of.get(read.name, "train"), cut.pairs(width, height)
            rows.append((shard, split, read.name, read.entry, read.offset, read.size, width, height, crops))
    names = ("shard", "split", "image", "pack", "offset", "size", "width", "height", "crops")
    rows.sort(key=lambda row: (row[0], row[2]))
    return pyarrow.table([pyarrow.array(column) for column in zip(*rows, strict=True)], names=list(names))


def _pairs(photographs: pyarrow.Table) -> pyarrow.Table:
    """A row for each pair of epoch 0, in the order and with the names of the stored ones."""
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc

    crops = photographs["crops"].to_numpy()
    table = photographs.take(np.repeat(np.arange(len(crops)), crops))
    crop = pyarrow.array(np.arange(len(table)) - np.repeat(np.cumsum(crops) - crops, crops), "int32")
    heads, digits = pc.utf8_slice_codeunits(table["image"], 0, KEY_DIGITS), pc.cast(crop, "string")
    key = pc.binary_join_element_wise(heads, pc.utf8_lpad(digits, 4, "0"), "_")
    table = table.add_column(0, "key", key).append_column("crop", crop)
    return table.sort_by([("shard", "ascending"), ("key", "ascending")]).combine_chunks()
