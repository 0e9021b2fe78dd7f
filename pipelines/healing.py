"""Lost bytes of finished work: which they are, what of a stage has to run again, and whether the same came back.

A committed stage whose bytes are gone *heals*: the partitions whose entries are missing run again, the others
count, and the end of the stage runs once more. What comes out must be what was there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pipelines.artifact import Entry, Manifest
from pipelines.canonical import JsonObject
from pipelines.errors import Damaged
from pipelines.fingerprint import CodeFingerprint, code_changes
from pipelines.stage import Stage
from pipelines.store.keylog import Commit
from pipelines.store.parts import PartRow
from pipelines.store.store import Store
from pipelines.wording import some


@dataclass(frozen=True, slots=True)
class Lost:
    """Committed bytes that are not in the store: slots without their manifest, and names of entries by slot.

    `cut` says that some of them are there in a wrong size.
    """

    manifests: tuple[str, ...] = ()
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cut: bool = False

    def __bool__(self) -> bool:
        return bool(self.manifests or self.entries)

    def __str__(self) -> str:
        """``shard-00003.tar is gone``; slots are named where several have lost something."""
        slots = {*self.manifests, *self.entries}
        names = [f"the manifest of {slot}" for slot in self.manifests]
        for slot, found in self.entries.items():
            names += [name if len(slots) == 1 else f"{slot}/{name}" for name in found]
        how = "gone or truncated" if self.cut else "gone"
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'} {how}"


def lost_bytes(store: Store, outputs: Mapping[str, str]) -> Lost:
    """What is missing of committed artifacts (digest by slot): manifests always, blobs where asking is cheap."""
    manifests: list[str] = []
    entries: dict[str, tuple[str, ...]] = {}
    cut = False
    for slot, tree in outputs.items():
        try:
            manifest = store.trees.get(tree) if store.is_local and store.trees.has(tree) else None
        except Damaged:
            manifest = None
        if manifest is None and (store.is_local or not store.trees.has(tree)):
            manifests.append(slot)
        elif manifest is not None:
            sizes = store.blobs.sizes(entry.sha256 for entry in manifest.entries)
            bad = [entry for entry in manifest.entries if sizes[entry.sha256] != entry.size]
            if bad:
                entries[slot] = tuple(entry.name for entry in bad)
                cut = cut or any(sizes[entry.sha256] is not None for entry in bad)
    return Lost(tuple(manifests), entries, cut)


def drifted(stage: type[Stage], code: CodeFingerprint, commit: Commit, accepted: Collection[str]) -> list[str] | None:
    """The files of advisory code that changed since `commit` and were not accepted; None where it is the same code.

    What such a stage was cannot be made again: what its code makes now is something else.
    """
    built = cast("JsonObject", commit.meta.get("code") or {})
    digest = built.get("digest")
    if stage.code_policy == "key" or not digest or code.digest in (digest, *accepted):
        return None
    return code_changes(cast("dict[str, str]", built.get("files", {})), code.files)


def changed_code(name: str, changed: Sequence[str]) -> str:
    """Why a stage of drifted code is not healed, and what can be done."""
    return (
        f"the code that built it changed ({some(changed) or 'the stage contract itself'}), so it would come out as "
        f"something else; `--rebuild {name}` builds another, `sharpline accept {name}` says that it is the same"
    )


def readable_manifests(store: Store, outputs: Mapping[str, str]) -> dict[str, Manifest]:
    """The manifests of committed artifacts (digest by slot), without those that are gone or damaged."""
    found = {}
    for slot, tree in outputs.items():
        with contextlib.suppress(Damaged):
            if store.trees.has(tree):
                found[slot] = store.trees.get(tree)
    return found


def whole_rows(store: Store, rows: Sequence[PartRow]) -> list[PartRow]:
    """Rows of finished partitions whose bytes are all in the store, in their stated sizes."""
    sizes = store.blobs.sizes(entry.sha256 for row in rows for entry in entries_of(row))
    return [row for row in rows if all(sizes[entry.sha256] == entry.size for entry in entries_of(row))]


def entries_of(row: PartRow) -> Iterable[Entry]:
    """All entries of a finished partition, whatever their slot."""
    return (entry for found in row.entries.values() for entry in found)


def words(lost: str, total: int, left: int) -> str:
    """What a plan says of a stage that has lost bytes: `left` of its `total` partitions have to run again."""
    if left:
        return f"heal {left} of {total} partitions: {lost}"
    return f"heal: {lost}; all {total} partitions are there, only the end of the stage runs again"


def first_difference(
    now: Mapping[str, Sequence[Entry]], before: Mapping[str, Sequence[Entry]], committed: Mapping[str, Sequence[Entry]]
) -> str | None:
    """The first content entry of a partition that is neither what it was nor what was committed, in words, or None.

    Entries are by slot. What the partition table says of the partition may itself be damaged, and a stage need not
    commit the entries of its partitions: one of the two has to agree.
    """
    for slot in {**now, **before}:
        entries = now.get(slot, ())
        known = {entry.name: entry for entry in before.get(slot, ()) if not entry.derived}
        final = {entry.name: entry for entry in committed.get(slot, ()) if not entry.derived}
        for name in known.keys() - {entry.name for entry in entries}:
            if final.get(name) == known[name]:
                return f"entry {name!r} of output {slot!r} is no longer written"
        for entry in entries:
            was = known.get(entry.name)
            if entry.derived or was is None or entry == was or entry == final.get(entry.name):
                continue
            return (
                f"entry {entry.name!r} of output {slot!r} had {was.size} bytes with sha256 {was.sha256}, "
                f"now it has {entry.size} with {entry.sha256}"
            )
    return None
