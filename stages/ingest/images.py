"""``ingest.images``: photographs from outside become an `images` artifact: packs of original bytes and an index."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from pipelines.stage import (
    Artifact,
    Config,
    Context,
    Facets,
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
from stages.ingest.hashing import hash_images
from stages.ingest.inspect import MAX_PIXELS, Rejected, inspect, refuse_size
from stages.ingest.listing import list_images
from stages.ingest.pack import COLUMNS, PackWriter
from stages.ingest.split import Split

Policy = Literal["fail", "quarantine"]
Rejects = list[dict[str, str]]


class IngestConfig(Config):
    source: Source
    """A folder, a glob, one .tar file, or ``skimage:photos`` (seven photographs that come with scikit-image)."""

    recursive: bool = True
    """Look into the folders of a folder."""

    extensions: tuple[str, ...] = ("bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp")
    """Which files of the source are images, by the end of their name, in any case."""

    min_size: pydantic.PositiveInt = 64
    """Least length of the shorter side, in pixels."""

    max_pixels: Annotated[int, pydantic.Field(gt=0, le=MAX_PIXELS)] = 100_000_000
    """Larger images count as broken; they are never decoded."""

    on_broken: Policy = "quarantine"
    """What to do about unreadable, transparent and over-large images: list them in `rejected`, or fail."""

    on_small: Policy = "quarantine"
    """What to do about images under `min_size`: list them in `rejected`, or fail."""

    split: Split = Split()
    """Fractions for validation and test, decided by image digest."""

    buckets: Annotated[int, pydantic.Field(gt=0, le=65536)] = 16
    """Images go to this many packs by their digest; one changed image rewrites one pack."""

    @pydantic.field_validator("extensions")
    @classmethod
    def _plain_extensions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(sorted({item.lower().removeprefix(".") for item in value}))
        if not plain or not all(item.isalnum() for item in plain) or "tar" in plain:
            raise ValueError("expected extensions of image files such as jpg or png")
        return plain


class IngestImages(Stage):
    """Decode every image of a source once, drop duplicates, quarantine what is unusable, and pack the rest.

    Packs hold the original bytes (``<sha256>.<ext>``) beside ``<sha256>.json`` (name, width, height). Of files
    with equal bytes the first name counts. ``split.json`` holds the rule behind the index's `split` column, so the
    index is a function of the artifact's content alone. Which files are usable: see `stages/ingest/inspect.py`.
    """

    name = "ingest.images"
    Config = IngestConfig
    # Which damaged files still decode depends on it; Pillow reads headers only.
    libraries: ClassVar[tuple[str, ...]] = ("opencv-python-headless",)

    @classmethod
    def outputs(cls, config: IngestConfig, inputs: InputFacets) -> Mapping[str, Output]:
        quarantine: Facets = {"role": "quarantine"}
        return {
            "images": Output("images", "packs of original bytes with index.parquet"),
            "rejected": Output("metrics", "rejected.json: name, sha256 and reason of what was left out", quarantine),
        }

    @classmethod
    def identity(cls, config: IngestConfig) -> JsonObject:
        # What these two select is already in the listing: one more extension re-decodes nothing.
        return config.model_dump(mode="json", exclude={"source", "recursive", "extensions"})

    @classmethod
    def list_sources(cls, config: IngestConfig) -> Mapping[str, Listing]:
        return {"source": list_images(config.source, recursive=config.recursive, extensions=config.extensions)}

    @classmethod
    def hash_sources(cls, config: IngestConfig, listings: Mapping[str, Listing]) -> Mapping[str, Sequence[SourceFile]]:
        return {field: hash_images(listing, config.extensions) for field, listing in listings.items()}

    @classmethod
    def partitions(
        cls, config: IngestConfig, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        if not sources["source"]:
            raise StageError(
                f"source {config.source!r} holds no file with one of the extensions {', '.join(config.extensions)}"
            )
        buckets: dict[int, list[Read]] = defaultdict(list)
        for file in sources["source"]:
            read = Read("source", file.name, file.sha256, file.location, file.offset, file.size)
            buckets[int(file.sha256[:8], 16) % config.buckets].append(read)
        return [
            Partition(
                id=str(bucket),
                reads=tuple(sorted(buckets[bucket], key=lambda read: (read.sha256, read.name))),
                weight=float(sum(read.size for read in buckets[bucket])),
            )
            for bucket in sorted(buckets)
        ]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        from stages.data.pixels import single_threaded
        from stages.data.tables import rows_table, write_table

        single_threaded()
        stem = f"{int(partition.id):02d}"
        packs = PackWriter(f"pack-{stem}", lambda name: ctx.out["images"].path(name))
        rejects = _take_in(ctx, partition, packs)
        packs.close()
        if packs.rows:
            write_table(rows_table(packs.rows, COLUMNS), ctx.out["images"].path(f"index-{stem}.parquet", derived=True))
        path = ctx.out["rejected"].path(f"rejected-{stem}.json", derived=True)
        path.write_bytes(_encode(rejects))

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        import pyarrow

        from stages.data.tables import INDEX, merge_tables, write_table

        rejects: Rejects = []
        for part in parts:
            for entry in part.entries["rejected"]:
                rejects += json.loads(ctx.part_file(entry).read_bytes())
        rejects.sort(key=lambda reject: (reject["name"], reject["sha256"]))
        entries = [entry for part in parts for entry in part.entries.get("images", ())]
        if not entries:
            raise StageError(f"no image could be used: all {len(rejects)} were left out\n{_excerpt(rejects)}")
        for entry in entries:
            if not entry.derived:
                ctx.out["images"].keep(entry)
        index = merge_tables([ctx.part_file(entry) for entry in entries if entry.derived], ["image"])
        split: Split = ctx.config.split
        names = pyarrow.array([split.of(image) for image in index["image"].to_pylist()], "string")
        index = index.add_column(index.column_names.index("ext"), "split", names)
        write_table(index, ctx.out["images"].path(INDEX, derived=True))
        ctx.out["images"].path("split.json").write_bytes(_encode(split.model_dump(mode="json")))
        ctx.out["rejected"].path("rejected.json").write_bytes(_encode(rejects))
        ctx.metrics(0, images=index.num_rows, rejected=len(rejects))
        if rejects:
            ctx.log.warning(
                "%d of %d files left out\n%s", len(rejects), len(rejects) + index.num_rows, _excerpt(rejects)
            )


def _take_in(ctx: Context, partition: Partition, packs: PackWriter) -> Rejects:
    """Pack the usable images of a partition; returns the rest, or raises StageError as the policies say."""
    config: IngestConfig = ctx.config
    rejects: Rejects = []
    fatal: Rejects = []
    names: dict[str, list[Read]] = defaultdict(list)
    for read in partition.reads:
        names[read.sha256].append(read)
    for done, (image, reads) in enumerate(names.items()):
        try:
            refuse_size(reads[0].size, config.max_pixels)
            data = ctx.read(reads[0])
            photo = inspect(data, min_size=config.min_size, max_pixels=config.max_pixels)
        except Rejected as rejected:
            found = [{"name": read.name, "sha256": image, "reason": rejected.reason} for read in reads]
            policy = config.on_small if rejected.kind == "small" else config.on_broken
            (fatal if policy == "fail" else rejects).extend(found)
        else:
            packs.add(image, reads[0].name, photo, data)
            reason = f"same bytes as {reads[0].name}"
            rejects += [{"name": read.name, "sha256": image, "reason": reason} for read in reads[1:]]
        ctx.progress(done + 1, len(names), "images")
    if fatal:
        raise StageError(
            f"{len(fatal)} images cannot be used\n{_excerpt(fatal)}\n"
            "remove them, or set on_broken or on_small to quarantine"
        )
    return rejects


def _excerpt(rejects: Rejects, most: int = 10) -> str:
    lines = [f"  {reject['name']}: {reject['reason']}" for reject in rejects[:most]]
    return "\n".join([*lines, f"  and {len(rejects) - most} more"] if len(rejects) > most else lines)


def _encode(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"
