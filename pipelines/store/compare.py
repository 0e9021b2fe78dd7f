"""Whether two builds of one key came out the same, and where they first differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.artifact import Manifest
from pipelines.errors import Damaged

if TYPE_CHECKING:
    from pipelines.store.store import Store


def compare_outputs(store: Store, old: Mapping[str, str], new: Mapping[str, str]) -> str | None:
    """The first difference between two commits' outputs (slot -> digest), in words, or None.

    Only content counts: derived entries are not in a digest. The manifests of `old` may be gone.
    """
    for slot in sorted({*old, *new}):
        before, after = old.get(slot), new.get(slot)
        if before == after:
            continue
        if before is None or after is None:
            return f"output {slot!r} is {'new' if before is None else 'missing'}"
        if not store.trees.has(before):
            return f"output {slot!r} has digest {after[:12]}, it was {before[:12]} (whose manifest is gone)"
        try:
            kept = store.trees.get(before)
        except Damaged:
            return f"output {slot!r} has digest {after[:12]}, it was {before[:12]} (whose manifest is damaged)"
        return f"output {slot!r}: {_difference(kept, store.trees.get(after))}"
    return None


def _difference(old: Manifest, new: Manifest) -> str:
    before = {entry.name: entry for entry in old.entries if not entry.derived}
    after = {entry.name: entry for entry in new.entries if not entry.derived}
    for name in sorted({*before, *after}):
        if name not in after:
            return f"entry {name!r} is missing"
        if name not in before:
            return f"entry {name!r} is new"
        a, b = before[name], after[name]
        if a.sha256 != b.sha256:
            return f"entry {name!r} differs ({a.size} bytes, sha256 {a.sha256[:12]}; now {b.size}, {b.sha256[:12]})"
        if a != b:
            return f"entry {name!r} has other facts: {a.meta}, now {b.meta}"
    if old.kind != new.kind:
        return f"kind was {old.kind}, now {new.kind}"
    for fact in sorted({*old.facets, *new.facets}):
        if old.facets.get(fact) != new.facets.get(fact) or (fact in old.facets) != (fact in new.facets):
            return f"facet {fact!r} was {old.facets.get(fact)!r}, now {new.facets.get(fact)!r}"
    return f"references were {dict(old.refs)}, now {dict(new.refs)}"
