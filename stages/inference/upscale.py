"""``upscale``: every photograph of an `images` artifact enlarged by a model."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from pipelines.stage import (
    Artifact,
    Context,
    Execution,
    Facets,
    Input,
    InputFacets,
    Output,
    Partition,
    PartitionResult,
    Read,
    StageError,
    facets_of,
)
from stages.models.computing import ComputingStage
from stages.sampling.config import SamplingConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = {
    "image": "string", "name": "string", "entry": "string", "offset": "int64", "size": "int64",
    "width": "int32", "height": "int32", "ext": "string", "split": "string", "source": "string",
}  # fmt: skip
"""Arrow types of the index: the convention of `images`, and `source`, the digest of the photograph."""

DETAIL = 128
"""Side, in LR pixels, of the middle part that the report shows."""


class UpscaleConfig(SamplingConfig):
    tile: PositiveInt | None = 256
    """Side of the square tiles in LR pixels, rounded up to what the network takes; null for whole images at once.
    Tiles bound the memory of the networks."""
    steps: PositiveInt | None = None
    """Sampling steps; those that the model was trained for when left out."""
    seed: NonNegativeInt = 0
    """Of the sampling noise."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: PositiveInt = 1
    """CPU threads of the arithmetic; part of the result on the CPU, because they order sums."""
    pictures: Execution[NonNegativeInt] = 4
    """Of so many images the middle is shown in the report, before and after."""


class Upscale(ComputingStage):
    """Enlarge photographs by a super-resolution model; one image is one unit, so that a stopped run goes on.

    The artifact holds a PNG for each image, named as the photograph (8-bit sRGB; what was gray has three equal
    channels, transparency and embedded profiles are left out), and ``index.parquet``. An image depends on the
    photograph's bytes, the model and the config. The networks see a tile at a time; beside that a unit needs about
    80 bytes for every pixel of the enlarged image.
    """

    name = "upscale"
    Config = UpscaleConfig
    inputs: ClassVar[Mapping[str, Input]] = {
        "images": Input("images", "photographs to enlarge"),
        "model": Input("model", "what enlarges them", {"role": "sr"}),
    }
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "opencv-python-headless", "torch")

    @classmethod
    def outputs(cls, config: UpscaleConfig, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {"role": "upscaled"}
        scale = facets_of(inputs, "model").get("scale")
        if isinstance(scale, int):
            facets["scale"] = scale
        return {"images": Output("images", "enlarged photographs as PNG", facets, config.device == "cpu")}

    @classmethod
    def partitions(cls, config: UpscaleConfig, inputs: Mapping[str, Artifact], sources: object) -> Sequence[Partition]:
        rows = inputs["images"].table().sort_by("image").to_pylist()
        if not rows:
            raise StageError(f"{inputs['images'].label} holds no image")
        return [
            Partition(
                id=row["image"][:16],
                params={"model": inputs["model"].digest, "entry": entry, "split": row["split"]},
                reads=(Read("images", row["image"], row["image"], row["entry"], row["offset"], row["size"]),),
                weight=float(row["width"] * row["height"]),
            )
            for row, entry in zip(rows, entry_names(rows), strict=True)
        ]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.data.pixels import Undecodable, decode_rgb, encode_png, single_threaded
        from stages.data.tables import rows_table, write_table

        single_threaded()
        source = partition.reads[0]
        try:
            lr = decode_rgb(ctx.read(source))
        except Undecodable as error:
            raise StageError(f"the photograph of {partition.params['entry']} {error}") from error
        png = encode_png(_enlarge(ctx, lr, source.name))
        entry = str(partition.params["entry"])
        ctx.out["images"].path(entry).write_bytes(png)
        row = _row(partition, entry, png)
        write_table(rows_table([row], COLUMNS), ctx.out["images"].path(f"{entry}.parquet", derived=True))

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        from stages.data.tables import INDEX, merge_tables, write_table

        entries = [entry for part in parts for entry in part.entries["images"]]
        for entry in entries:
            if not entry.derived:
                ctx.out["images"].keep(entry)
        index = merge_tables([ctx.part_file(entry) for entry in entries if entry.derived], ["image"])
        write_table(index, ctx.out["images"].path(INDEX, derived=True))
        ctx.metrics(0, images=index.num_rows)
        for part in parts[: ctx.config.pictures]:
            _show(ctx, part)


def entry_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """An entry name for the image of each index row: the photograph's own with ``.png`` for its suffix.

    Characters that entries cannot have become ``_``. Where that makes two names one (also on file systems that do not
    tell capital letters), both get the first digits of their digests.
    """
    plain = [_portable(str(row["name"])) for row in rows]
    often = Counter(name.lower() for name in plain)
    return [
        f"{name}-{row['image'][:8]}.png" if often[name.lower()] > 1 else f"{name}.png"
        for name, row in zip(plain, rows, strict=True)
    ]


def _portable(name: str) -> str:
    """`name` without its suffix, in characters that an entry may have; accents are dropped."""
    folder, slash, last = name.rpartition("/")
    stem = last.rpartition(".")[0] or last
    plain = "".join(c for c in unicodedata.normalize("NFKD", f"{folder}{slash}{stem}") if not unicodedata.combining(c))
    parts = [re.sub(r"[^A-Za-z0-9_.@=,+-]", "_", part).lstrip(".") or "_" for part in plain.split("/") if part]
    return "/".join(parts)


def _enlarge(ctx: Context, lr: NDArray[np.uint8], digest: str) -> NDArray[np.uint8]:
    from stages.models.numerics import numerics
    from stages.models.registry import load_model
    from stages.sampling.pixels import enlarge

    config: UpscaleConfig = ctx.config
    with numerics(config.threads, reproducible=config.device == "cpu"):
        device = ctx.devices[0] if config.device == "cuda" else "cpu"
        model = load_model(ctx.inputs["model"], device)
        return enlarge(model, lr, config, steps=config.steps, seed=config.seed, name=digest, device=device)


def _row(partition: Partition, entry: str, png: bytes) -> dict[str, Any]:
    """The index row of an enlarged image; its size is in the PNG's own header."""
    import hashlib

    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return {
        "image": hashlib.sha256(png).hexdigest(), "name": entry, "entry": entry, "offset": 0, "size": len(png),
        "width": width, "height": height, "ext": "png", "split": partition.params["split"],
        "source": partition.reads[0].sha256,
    }  # fmt: skip


def _show(ctx: Context, part: PartitionResult) -> None:
    """Record the middle of a photograph (its pixels enlarged) and of its enlargement."""
    import cv2

    from stages.data.pixels import decode_rgb, encode_png

    entry = next(entry for entry in part.entries["images"] if not entry.derived)
    lr, sr = decode_rgb(ctx.read(part.partition.reads[0])), decode_rgb(ctx.part_file(entry).read_bytes())
    scale = sr.shape[0] // lr.shape[0]
    height, width = (min(DETAIL, side) for side in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    before = lr[top : top + height, left : left + width]
    after = sr[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    pixels = cv2.resize(before, (width * scale, height * scale), interpolation=cv2.INTER_NEAREST).astype(lr.dtype)
    ctx.image(f"{entry.name}/lr", encode_png(pixels), caption=f"LR {lr.shape[1]}x{lr.shape[0]}, pixels enlarged")
    ctx.image(f"{entry.name}/sr", encode_png(after), caption=f"SR {sr.shape[1]}x{sr.shape[0]}, the middle of it")
