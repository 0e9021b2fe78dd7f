"""Stored pairs and their records: one sample out of a shard, or out of what a spec has built."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from degrade.recipe import Recipe
    from pipelines.lookup import Built
    from pipelines.stage import Artifact

MOST = 5  # keys that an error lists


@dataclass(frozen=True)
class Member:
    """One image of a pair as it is stored: the extension after its part (``png``) and the encoded bytes."""

    ext: str
    data: bytes

    @property
    def lossless(self) -> bool:
        """Whether decoding gives the pixels that were encoded."""
        return self.ext == "png" or (self.ext == "webp" and self.data[12:16] == b"VP8L")


@dataclass(frozen=True)
class Stored:
    """A sample: its key, its shard, the record and both images."""

    key: str
    shard: str
    record: bytes
    hr: Member
    lr: Member

    def recipe(self) -> Recipe:
        """The recipe in the record. Raises UsageError where the record is damaged or contradicts itself."""
        from degrade.errors import DegradeError
        from degrade.recipe import Recipe

        try:
            about: Any = json.loads(self.record)
            recipe = Recipe.from_json(json.dumps(about["recipe"]))
            image = about["image"]
        except (DegradeError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.shard}: the record {self.key}.json cannot be used: {error}") from error
        if image != recipe.image:
            raise UsageError(
                f"{self.shard}: the record {self.key}.json contradicts itself: it names image {image} and holds a "
                f"recipe for image {recipe.image}"
            )
        return recipe


def from_shard(path: Path, key: str) -> Stored:
    """The sample of a tar whose key is `key` or begins with it. Raises UsageError with what there is."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = {member.name: member for member in tar if member.isreg()}
            keys = [name.removesuffix(".json") for name in members if name.endswith(".json")]
            chosen = one_key(key, keys, str(path))
            data = {}
            for name, member in members.items():
                stream = tar.extractfile(member) if name.startswith(f"{chosen}.") else None
                if stream is not None:
                    data[name.removeprefix(f"{chosen}.")] = stream.read()
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{path}: cannot be read as a shard (a plain tar): {error}") from error
    return Stored(chosen, str(path), data["json"], _member(data, "hr", chosen), _member(data, "lr", chosen))


def from_built(built: Built, key: str) -> Stored:
    """The sample of a `samples` artifact whose key is `key` or begins with it, read by its index."""
    import pyarrow.parquet as parquet

    from stages.data.rules import is_online

    if is_online(built.artifact):
        raise UsageError(
            f"{built.stage}: its pairs are made on line and none is stored, so there is nothing to compare with; "
            f"`sharpline inspect SPEC {built.stage} -o FILE.html` shows some of them"
        )
    names = ["key", "shard", *(f"{part}_{what}" for part in ("hr", "lr", "json") for what in ("offset", "size")),
             "hr_ext", "lr_ext"]  # fmt: skip
    held = {entry.name for entry in built.artifact.manifest.entries}
    index = built.artifact.open("index.parquet") if "index.parquet" in held else None
    if index is None or not set(names) <= set(parquet.read_schema(index).names):
        kind = built.artifact.manifest.kind
        raise UsageError(f"{built.stage} is {kind} and no set of stored pairs; name a stage that uses degrade.pairs")
    # Row groups whose keys cannot match are skipped by their statistics.
    table = parquet.read_table(index, columns=names, filters=[("key", ">=", key), ("key", "<", key + "~")])
    rows = {row["key"]: row for row in table.to_pylist()}
    return stored_at(built.artifact, rows[one_key(key, list(rows), built.stage)])


def stored_at(artifact: Artifact, row: Mapping[str, Any]) -> Stored:
    """The sample that a row of the index describes (key, shard, offsets, sizes and extensions of its members)."""

    def read(part: str) -> bytes:
        return artifact.read(row["shard"], row[f"{part}_offset"], row[f"{part}_size"])

    hr, lr = (Member(row[f"{part}_ext"], read(part)) for part in ("hr", "lr"))
    return Stored(row["key"], row["shard"], read("json"), hr, lr)


def one_key(key: str, keys: Sequence[str], where: str) -> str:
    """The only one of `keys` that is `key` or begins with it. Raises UsageError for none and for several."""
    found = [known for known in keys if known == key] or sorted(known for known in keys if known.startswith(key))
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{where}: {len(found)} keys begin with {key!r}: {_some(found)}; give more of the key")
    holds = f"; it holds {_some(sorted(keys))}" if keys else ""
    raise UsageError(f"{where}: no key is or begins with {key!r}{holds}")


def _member(data: dict[str, bytes], part: str, key: str) -> Member:
    for name, payload in data.items():
        if name.startswith(f"{part}."):
            return Member(name.removeprefix(f"{part}."), payload)
    raise UsageError(f"the sample {key} has no {part} image; it has: {', '.join(data)}")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:MOST]) + (f" and {len(keys) - MOST} more" if len(keys) > MOST else "")
