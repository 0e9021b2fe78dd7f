"""Which image goes to which shard, and what one shard needs to be made: pure functions of the image index.

An image's digest says all: a number of it picks one of `shards`, and where a budget of samples is given and a shard
is over it, the shard is split in two by the next binary digit of another part of the digest, and again until
everything fits (extendible hashing: Fagin, Nievergelt, Pippenger & Strong, ACM TODS 4(3), 1979). Shard 3 becomes
3-0 and 3-1, and if 3-1 is still too large 3-10 and 3-11. So an image that comes or goes changes the one shard that
holds it; only where it crosses the budget does one shard become several (two, or more where a part of it is over the
budget still), or several become one. An edited image is one that goes and another that comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipelines.stage import JsonObject, Partition, Read, StageError

KEY_DIGITS = 16  # hex digits of the image's digest in a sample's key
_DEEPEST: Final = 128  # binary digits that can split a shard

Row = dict[str, Any]


def shard_of(image: str, shards: int) -> int:
    """The shard of the image with sha256 `image`, before any split: other images never move it."""
    return int(image[16:32], 16) % shards


def shard_name(shard: str) -> str:
    """The entry name of the shard that people call `shard`: ``3`` is ``shard-00003.tar``, ``3-01`` a part of it."""
    number, dash, digits = shard.partition("-")
    return f"shard-{int(number):05d}{dash}{digits}.tar"


def index_name(shard: str) -> str:
    """The entry name of a shard's own index."""
    return shard_name(shard).replace("shard-", "index-").replace(".tar", ".parquet")


def sample_key(image: str, crop: int) -> str:
    """The key of one pair: zero-padded, of characters that every tar and WebDataset reader takes as they are."""
    return f"{image[:KEY_DIGITS]}_{crop:04d}"


@dataclass(frozen=True, slots=True)
class Cut:
    """How many pairs an image gives. `hr_size` None takes the whole of it, of at least `scale` pixels a side."""

    hr_size: int | None
    scale: int
    crops: int | Literal["area"]

    @property
    def least(self) -> int:
        """The shortest side that gives a pair."""
        return self.scale if self.hr_size is None else self.hr_size

    def pairs(self, width: int, height: int) -> int:
        """A fixed number, or (``area``) as many as tile the image once, rounded, at least 1."""
        if self.crops != "area":
            return self.crops
        return 1 if self.hr_size is None else max(1, round(width * height / self.hr_size**2))


@dataclass(frozen=True, slots=True)
class Plan:
    """The units of work: one partition a shard that has images, and which images are too small for a pair."""

    partitions: tuple[Partition, ...]
    too_small: tuple[str, ...]  # names, in order


def plan_shards(rows: Sequence[Row], cut: Cut, *, shards: int, budget: int | None = None) -> Plan:
    """Group the rows of an image index (columns of the `images` convention) into shards of at most `budget` samples.

    The pairs of one image stay together, so an image of more pairs than the budget has a shard of its own. A partition
    reads its images by digest, so that renaming or repacking them re-makes nothing; which of them are for validation
    and test is written into the samples and therefore part of its parameters. Raises StageError for two images whose
    keys would be the same.
    """
    groups: dict[int, list[Row]] = defaultdict(list)
    keys: dict[str, str] = {}
    small = []
    for row in sorted(rows, key=lambda row: row["image"]):
        if min(row["width"], row["height"]) < cut.least:
            small.append(row["name"])
            continue
        other = keys.setdefault(row["image"][:KEY_DIGITS], row["name"])
        if other != row["name"]:
            raise StageError(f"{row['name']} and {other} would get the same sample keys; remove one of them")
        groups[shard_of(row["image"], shards)].append(row)
    parts = (part for shard in sorted(groups) for part in _split(str(shard), "", groups[shard], cut, budget))
    return Plan(tuple(_partition(shard, held, cut) for shard, held in parts), tuple(sorted(small)))


def splits_of(part: Partition) -> dict[str, str]:
    """The split of every image of a shard that is not for training."""
    named: Mapping[str, Any] = part.params
    return {image: split for split in ("val", "test") for image in named[split]}


def _split(
    shard: str, digits: str, rows: Sequence[Row], cut: Cut, budget: int | None
) -> Iterator[tuple[str, Sequence[Row]]]:
    """The shards that hold `rows`, which agree in the binary `digits`; empty ones are left out."""
    fits = budget is None or _samples(rows, cut) <= budget
    if fits or len(rows) == 1 or len(digits) == _DEEPEST:
        yield f"{shard}-{digits}" if digits else shard, rows
        return
    for digit in "01":
        held = [row for row in rows if _digit(row["image"], len(digits)) == digit]
        if held:
            yield from _split(shard, digits + digit, held, cut, budget)


def _digit(image: str, place: int) -> str:
    """A binary digit of the half of the digest that neither the key nor the shard's number comes from."""
    return "01"[int(image[32 + place // 4], 16) >> (3 - place % 4) & 1]


def _samples(rows: Sequence[Row], cut: Cut) -> int:
    return sum(cut.pairs(row["width"], row["height"]) for row in rows)


def _partition(shard: str, rows: Sequence[Row], cut: Cut) -> Partition:
    params: JsonObject = {"shard": shard}
    for split in ("val", "test"):
        params[split] = [row["image"] for row in rows if row["split"] == split]
    return Partition(
        id=shard,
        params=params,
        reads=tuple(
            Read("images", row["image"], row["image"], row["entry"], row["offset"], row["size"]) for row in rows
        ),
        weight=float(_samples(rows, cut)),
    )
