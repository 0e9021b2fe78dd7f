"""What lies outside the store: listings by stat, hashes only for what is new, both remembered in the store.

``listings/<signature>.json`` is a pure function of the signature, so that a plan can name the files that came
and went. ``listings/<signature>.hashed-<stage>.json`` holds what one version of one stage read out of them (stages
may look into containers differently), so that a run that was killed while hashing 10 TB does not start over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pipelines.canonical import digest
from pipelines.stage import ListedFile, Listing, SourceFile, Stage
from pipelines.store.objects import ObjectNotFound
from pipelines.store.schema import check_schema
from pipelines.store.store import Store

LISTING_SCHEMA = 1


def remember_listing(store: Store, listing: Listing) -> None:
    """Keep the names behind a signature, for the reasons of later plans."""
    record = {"schema": LISTING_SCHEMA, "files": [[f.name, f.size, f.stamp] for f in listing.files]}
    store.objects.put_if_absent(f"listings/{listing.signature}.json", _encode(record))


def recall_listing(store: Store, signature: str) -> Listing | None:
    """The names, sizes and stamps behind a signature seen before (locations are not kept), or None."""
    try:
        record = json.loads(store.objects.get(f"listings/{signature}.json"))
    except ObjectNotFound:
        return None
    check_schema(record, LISTING_SCHEMA, f"listings/{signature}.json")
    return Listing(tuple(ListedFile(name, size, stamp, "") for name, size, stamp in record["files"]))


def known_hashes(
    store: Store, stage: type[Stage], listings: Mapping[str, Listing]
) -> dict[str, tuple[SourceFile, ...]] | None:
    """The hashed files of listings that `stage` hashed before, or None when any of them is new."""
    found: dict[str, tuple[SourceFile, ...]] = {}
    for field, listing in listings.items():
        rows = _recall_hashes(store, stage, field, listing.signature)
        if rows is None:
            return None
        locations = {file.name: file.location for file in listing.files}
        found[field] = tuple(SourceFile(row[1], row[2], row[3], locations[row[0]], row[4]) for row in rows)
    return found


def hash_sources(
    store: Store, stage: type[Stage], config: Any, listings: Mapping[str, Listing], earlier: Sequence[str] = ()
) -> dict[str, tuple[SourceFile, ...]]:
    """Hash every listed file that no listing in `earlier` (signatures) vouches for; remember the result.

    A file is vouched for by equal relative name, size and stamp.
    """
    known = known_hashes(store, stage, listings)
    if known is not None:
        return known
    result: dict[str, tuple[SourceFile, ...]] = {}
    for field, listing in listings.items():
        vouched = _vouched(store, stage, field, earlier)
        fresh = Listing(tuple(f for f in listing.files if (f.name, f.size, f.stamp) not in vouched))
        hashed = list(stage.hash_sources(config, {field: fresh})[field]) if fresh.files else []
        for file in listing.files:
            rows = vouched.get((file.name, file.size, file.stamp), [])
            hashed += [SourceFile(row[1], row[2], row[3], file.location, row[4]) for row in rows]
        result[field] = tuple(sorted(hashed, key=lambda f: (f.name, f.offset)))
        _remember_hashes(store, stage, field, listing, result[field])
    return result


def _vouched(
    store: Store, stage: type[Stage], field: str, signatures: Sequence[str]
) -> dict[tuple[str, int, str], list[list[Any]]]:
    """Rows of hashed files by (name, size, stamp), each from the first listing that has it."""
    vouched: dict[tuple[str, int, str], list[list[Any]]] = {}
    for signature in signatures:
        listing, rows = recall_listing(store, signature), _recall_hashes(store, stage, field, signature)
        if listing is None or rows is None:
            continue
        by_name = {file.name: (file.name, file.size, file.stamp) for file in listing.files}
        found: dict[tuple[str, int, str], list[list[Any]]] = {}
        for row in rows:
            found.setdefault(by_name[row[0]], []).append(row)
        vouched = {**found, **vouched}
    return vouched


def _remember_hashes(
    store: Store, stage: type[Stage], field: str, listing: Listing, files: Sequence[SourceFile]
) -> None:
    remember_listing(store, listing)
    names = {file.location: file.name for file in listing.files}
    rows = [[names[f.location], f.name, f.size, f.sha256, f.offset] for f in files]
    record = {"schema": LISTING_SCHEMA, "hashed": rows}
    store.objects.put_if_absent(_hashed(stage, field, listing.signature), _encode(record))


def _recall_hashes(store: Store, stage: type[Stage], field: str, signature: str) -> list[list[Any]] | None:
    place = _hashed(stage, field, signature)
    try:
        record = json.loads(store.objects.get(place))
    except ObjectNotFound:
        return None
    check_schema(record, LISTING_SCHEMA, place)
    return cast("list[list[Any]]", record["hashed"])


def _hashed(stage: type[Stage], field: str, signature: str) -> str:
    reader = digest({"stage": stage.name, "version": stage.version, "field": field})
    return f"listings/{signature}.hashed-{reader[:16]}.json"


def _encode(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
