"""``degrade.pairs`` with ``online: true``: an artifact that says how its pairs are made, and holds no pixels of them.

Its content is the rules (``online.json``) and the digests of a few pairs (``probe.json``), chosen so that they meet
everything that the preset can do (:mod:`stages.synthesis.probe`): where an edit of the code or another library changes
what an operator makes or how its parameters are drawn, the artifact changes too, and what was trained on it is trained
again, as it would be with stored pairs. An edit that changes neither trains nothing again. What the pairs can miss is
a change that shows at few values of a number only.

Index and photographs are derived entries. The photographs' packs are those of the `images` artifact, carried over by
digest: no byte is copied, and since they are no content, renaming or repacking photographs changes nothing for those
who train on the pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from pipelines.stage import Artifact, Context, JsonObject, Partition, PartitionResult, Read, StageError, digest
from stages.synthesis.shards import KEY_DIGITS, Cut, Plan, shard_name, splits_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

    from stages.synthesis.config import PairsConfig
    from stages.synthesis.probe import Probe

    Pixels = NDArray[np.uint8]

PROBES: Final = 4
"""Photographs of each split whose first pair is looked at, and whose other pairs may be."""

PICTURES: Final = 4


def probe_partition(plan: Plan, preset: JsonObject, images: Artifact) -> Partition:
    """The one unit of work: render pairs of the first photographs of each split, in the index's order."""
    found: dict[str, list[Read]] = {"train": [], "val": [], "test": []}
    for part in sorted(plan.partitions, key=lambda part: shard_name(part.id)):
        split_of = splits_of(part)
        for read in part.reads:
            split = split_of.get(read.name, "train")
            if len(found[split]) < PROBES:
                found[split].append(read)
    reads = tuple(read for split in found.values() for read in split)
    sizes = _sizes(images)
    params: JsonObject = {"preset": preset, "sizes": [list(sizes[read.name][::-1]) for read in reads]}
    return Partition("probe", params, reads, weight=float(len(reads)))


def run_probe(ctx: Context, part: Partition) -> None:
    """Make the probed pairs: their digests are content, the first of some photographs pictures for the report."""
    from stages.data.rules import PROBE, pair_digest

    probes, recipes = _chosen(ctx, part)
    found: dict[str, str] = {}
    shown: set[int] = set()
    for probe, lr, hr in _rendered(ctx, part, probes):
        found[probe.key] = pair_digest(lr, hr)
        if probe.photo not in shown and len(shown) < PICTURES:
            shown.add(probe.photo)
            _show(ctx, probe.key, lr, hr)
        ctx.progress(len(found), len(probes), "pairs")
    text = json.dumps({"schema": 1, "pairs": found, "recipes": recipes}, sort_keys=True, indent=1)
    ctx.out["pairs"].path(PROBE).write_text(text + "\n")


def _chosen(ctx: Context, part: Partition) -> tuple[list[Probe], str]:
    from degrade.errors import DegradeError
    from degrade.preset import Preset
    from stages.synthesis.probe import choose

    sizes: Any = part.params["sizes"]
    photos = [(read.name, (height, width)) for read, (height, width) in zip(part.reads, sizes, strict=True)]
    try:
        return choose(ctx.config, Preset.model_validate(part.params["preset"]), photos)
    except DegradeError as error:
        raise StageError(f"the preset gave no pair: {error}") from error


def _rendered(ctx: Context, part: Partition, probes: Sequence[Probe]) -> Iterator[tuple[Probe, Pixels, Pixels]]:
    """(probe, lr, hr), one photograph in memory at a time."""
    from degrade.engine import render
    from degrade.errors import DegradeError
    from stages.data.pixels import Undecodable, decode_rgb

    for number, group in groupby(probes, key=lambda probe: probe.photo):
        read = part.reads[number]
        try:
            photograph = decode_rgb(ctx.read(read))
            for probe in group:
                hr, lr = render(photograph, probe.recipe)
                yield probe, lr, hr
        except (DegradeError, Undecodable) as error:
            raise StageError(f"image {read.name} ({read.entry}) gave no pair: {error}") from error


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

    sizes, rows = _sizes(images), []
    for part in plan.partitions:
        shard, split_of = shard_name(part.id), splits_of(part)
        for read in part.reads:
            width, height = sizes[read.name]
            split, crops = split_of.get(read.name, "train"), cut.pairs(width, height)
            rows.append((shard, split, read.name, read.entry, read.offset, read.size, width, height, crops))
    names = ("shard", "split", "image", "pack", "offset", "size", "width", "height", "crops")
    rows.sort(key=lambda row: (row[0], row[2]))
    return pyarrow.table([pyarrow.array(column) for column in zip(*rows, strict=True)], names=list(names))


def _sizes(images: Artifact) -> dict[str, tuple[int, int]]:
    """(width, height) of every photograph, by its digest."""
    table = images.table()
    known = [table[name].to_pylist() for name in ("image", "width", "height")]
    return {image: (width, height) for image, width, height in zip(*known, strict=True)}


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
