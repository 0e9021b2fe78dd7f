"""What a finished stage leaves behind: a manifest of named, content-addressed entries.

An artifact's digest covers its *content* only: kind, facets, content entries and refs. Entries marked
`derived` (indexes, previews) are pure functions of the content, so they travel with the manifest but
cannot change its identity. Nothing that was measured (time, host, versions) may appear here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast, get_args

from pipelines.canonical import Json, JsonObject, digest

Kind: TypeAlias = Literal["images", "samples", "model", "bundle", "metrics"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Facets: TypeAlias = "dict[str, bool | int | float | str | None]"
"""Flat typed facts that one stage states and another demands: scale, channels, latent space, family, role."""

MANIFEST_SCHEMA: Final = 1
_ENTRY_NAME = re.compile(r"[A-Za-z0-9_@=,+-][A-Za-z0-9_.@=,+-]*(/[A-Za-z0-9_@=,+-][A-Za-z0-9_.@=,+-]*)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an artifact.

    `name` is a relative POSIX path of portable characters, `sha256` 64 hex characters, `size` in bytes.
    `derived` entries are left out of the artifact's digest. `meta` holds small JSON facts that are part of
    the content (for a content entry) such as a sample count.
    """

    name: str
    sha256: str
    size: int
    derived: bool = False
    meta: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _ENTRY_NAME.fullmatch(self.name):
            raise ValueError(
                f"entry name {self.name!r}: expected a relative path of letters, digits and _.@=,+- "
                "with no part starting with a dot"
            )

    def to_json(self) -> JsonObject:
        data: JsonObject = {"name": self.name, "sha256": self.sha256, "size": self.size}
        if self.derived:
            data["derived"] = True
        if self.meta:
            data["meta"] = self.meta
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Entry:
        return cls(
            name=cast(str, data["name"]),
            sha256=cast(str, data["sha256"]),
            size=cast(int, data["size"]),
            derived=bool(data.get("derived", False)),
            meta=cast(JsonObject, data.get("meta", {})),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table of contents of one artifact. `refs` maps a role to the digest of another artifact."""

    kind: Kind
    facets: Facets
    entries: tuple[Entry, ...]
    refs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"manifest names an entry twice: {', '.join(twice)}")
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.name)))

    @property
    def digest(self) -> str:
        """64 hex characters over kind, facets, content entries and refs; the artifact's identity."""
        content = [entry.to_json() for entry in self.entries if not entry.derived]
        identity = {"manifest": 1, "kind": self.kind, "facets": self.facets, "entries": content, "refs": self.refs}
        return digest(identity)

    @property
    def size(self) -> int:
        """Bytes of all entries, derived ones included."""
        return sum(entry.size for entry in self.entries)

    def entry(self, name: str) -> Entry:
        """The entry called `name`. Raises KeyError that lists what there is."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        have = ", ".join(entry.name for entry in self.entries[:10])
        raise KeyError(f"artifact {self.digest[:12]} has no entry {name!r}; it has: {have}")

    def to_json(self) -> JsonObject:
        return {
            "schema": MANIFEST_SCHEMA,
            "kind": self.kind,
            "facets": cast(JsonObject, self.facets),
            "entries": [entry.to_json() for entry in self.entries],
            "refs": dict(self.refs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Manifest:
        """Rebuild from :meth:`to_json`'s form. The caller has checked `schema` (see `store.schema`)."""
        return cls(
            kind=cast(Kind, data["kind"]),
            facets=cast(Facets, data["facets"]),
            entries=tuple(Entry.from_json(cast(JsonObject, e)) for e in cast("list[Json]", data["entries"])),
            refs=cast("dict[str, str]", data.get("refs", {})),
        )
