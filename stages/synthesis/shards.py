"""Which image goes to which shard, and what one shard needs to be made: pure functions of the image index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.stage import JsonObject, Partition, Read, StageError

KEY_DIGITS = 16  # hex digits of the image's digest in a sample's key


def shard_of(image: str, shards: int) -> int:
    """The shard of the image with sha256 `image`: other images coming or going never moves it."""
    return int(image[16:32], 16) % shards


def shard_name(shard: int) -> str:
    """The entry name of a shard."""
    return f"shard-{shard:05d}.tar"


def sample_key(image: str, crop: int) -> str:
    """The key of one pair: zero-padded, of characters that every tar and WebDataset reader takes as they are."""
    return f"{image[:KEY_DIGITS]}_{crop:04d}"


def crops_of(width: int, height: int, hr_size: int, crops: int | Literal["area"]) -> int:
    """How many pairs an image gives: a fixed number, or (``area``) as many as tile it once, rounded, at least 1."""
    return crops if crops != "area" else max(1, round(width * height / hr_size**2))


@dataclass(frozen=True, slots=True)
class Plan:
    """The units of work: one partition a shard that has images, and how many images are too small for a crop."""

    partitions: tuple[Partition, ...]
    too_small: tuple[str, ...]  # names, in order


def plan_shards(rows: Sequence[dict[str, Any]], *, shards: int, hr_size: int, crops: int | Literal["area"]) -> Plan:
    """Group the rows of an image index (columns of the `images` convention) into shards.

    A partition reads its images by digest, so that renaming or repacking them re-makes nothing; which of them
    are for validation and test is written into the samples and therefore part of its parameters. Raises StageError
    for two images whose keys would be the same.
    """
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    keys: dict[str, str] = {}
    small = []
    for row in sorted(rows, key=lambda row: row["image"]):
        if min(row["width"], row["height"]) < hr_size:
            small.append(row["name"])
            continue
        other = keys.setdefault(row["image"][:KEY_DIGITS], row["name"])
        if other != row["name"]:
            raise StageError(f"{row['name']} and {other} would get the same sample keys; remove one of them")
        groups[shard_of(row["image"], shards)].append(row)
    made = [_partition(shard, groups[shard], hr_size, crops) for shard in sorted(groups)]
    return Plan(tuple(made), tuple(sorted(small)))


def _partition(shard: int, rows: Sequence[dict[str, Any]], hr_size: int, crops: int | Literal["area"]) -> Partition:
    params: JsonObject = {"shard": shard}
    for split in ("val", "test"):
        params[split] = [row["image"] for row in rows if row["split"] == split]
    return Partition(
        id=str(shard),
        params=params,
        reads=tuple(
            Read("images", row["image"], row["image"], row["entry"], row["offset"], row["size"]) for row in rows
        ),
        weight=float(sum(crops_of(row["width"], row["height"], hr_size, crops) for row in rows)),
    )
