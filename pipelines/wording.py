"""How a change is put into words: short values, capped lists of names, what differs inside an artifact or listing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from pipelines.artifact import Kind, Manifest
from pipelines.canonical import Json
from pipelines.stage import Listing

LONGEST_VALUE: Final = 60
MOST_NAMES: Final = 3
_PLAIN: Final = re.compile(r"[A-Za-z_/.][\w./:@+-]*")
_SPECIAL: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
_ITEMS: Final[Mapping[Kind, str]] = {"images": "pack", "samples": "shard"}

V = TypeVar("V")


def show(value: Json, longest: int = LONGEST_VALUE) -> str:
    """`value` as one would write it in a spec, cut in the middle when it is long."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _SPECIAL
        text = value if plain else json.dumps(value, ensure_ascii=False)
    elif isinstance(value, float):
        text = re.sub(r"e([+-])0(\d)$", r"e\1\2", repr(value))
    else:
        text = json.dumps(value, ensure_ascii=False)
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"


def show_change(before: Json, after: Json) -> str:
    """``before -> after``; two long values are cut so that their first difference is visible."""
    old, new = show(before), show(after)
    if old == new:
        full_old, full_new = (show(value, longest=10**9) for value in (before, after))
        start = max(0, next((i for i, (a, b) in enumerate(zip(full_old, full_new, strict=False)) if a != b), 0) - 10)
        old, new = (f"…{text[start : start + LONGEST_VALUE // 2]}…" for text in (full_old, full_new))
    return f"{old} -> {new}"


def some(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """``a, b, c and 12 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def describe_input_change(old: Manifest | None, new: Manifest | None) -> str:
    """What differs between two artifacts: ``2 of 240 shards changed (…), facet scale: 2 -> 4``.

    Empty when one of them is not at hand or their contents are equal.
    """
    if old is None or new is None or old.digest == new.digest:
        return ""
    said = []
    if old.kind != new.kind:
        said.append(f"kind: {old.kind} -> {new.kind}")
    before, after = ({e.name: e.to_json() for e in manifest.entries if not e.derived} for manifest in (old, new))
    said += _describe_names(before, after, _ITEMS.get(new.kind, "file"))
    for name in sorted({*old.facets, *new.facets}):
        was, now = old.facets.get(name), new.facets.get(name)
        if (type(was), was) != (type(now), now):
            said.append(f"facet {name}: {show_change(was, now)}")
    refs = [name for name in sorted({*old.refs, *new.refs}) if old.refs.get(name) != new.refs.get(name)]
    if refs:
        said.append(f"refers to another {some(refs)}")
    return ", ".join(said)


def describe_listing_change(old: Listing, new: Listing) -> str:
    """What differs between two listings: ``1 added (dog.png), 2 of 240 files changed (…), 1 removed (cat.png)``."""
    before, after = ({file.name: (file.size, file.stamp) for file in listing.files} for listing in (old, new))
    return ", ".join(_describe_names(before, after, "file"))


def _describe_names(old: Mapping[str, V], new: Mapping[str, V], noun: str) -> list[str]:
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    changed = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    said = []
    if added:
        said.append(f"{len(added)} added ({some(added)})")
    if changed:
        total = f"{len(new)} {noun}{'' if len(new) == 1 else 's'}"
        said.append(f"{len(changed)} of {total} changed ({some(changed)})")
    if removed:
        said.append(f"{len(removed)} removed ({some(removed)})")
    return said
