"""Why a stage has to be built: what differs from the nearest earlier build of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipelines.artifact import Manifest
from pipelines.assessment import Identity
from pipelines.fingerprint import code_changes
from pipelines.history import History
from pipelines.reasons import Reason, describe_input_change, describe_listing_change, diff_payloads, nearest
from pipelines.sources import recall_listing
from pipelines.spec.model import StageSpec
from pipelines.store.store import Store
from pipelines.wording import some


def why(store: Store, history: History, stage: StageSpec, identity: Identity) -> list[Reason]:
    """What differs from the nearest that this stage was built as before, as a person would say it."""
    candidates = history.candidates(stage.name)
    payloads = [c.payload for c in candidates if c.key != identity.key]
    chosen = nearest(identity.payload, payloads)
    if chosen is None:
        return [Reason("new", stage.name, None, None, "never built here", None)]
    earlier = next(c for c in candidates if c.payload is chosen)
    found = diff_payloads(chosen, identity.payload, lambda path: _where(stage, path))
    return [_refined(store, identity, earlier.files, reason) for reason in found]


def _refined(store: Store, identity: Identity, files: Mapping[str, str], reason: Reason) -> Reason:
    """Say what lies behind a changed digest: entries of an input, names of a listing, files of the code."""
    if reason.kind == "code" and files:
        changed = code_changes(files, identity.code.files)
        return replace(reason, text=f"code: {some(changed) if changed else 'the stage contract itself'}")
    if reason.kind == "input" and isinstance(reason.before, str) and isinstance(reason.after, str):
        change = describe_input_change(_manifest(store, reason.before), _manifest(store, reason.after))
        slot = reason.path.removeprefix("inputs.")
        return replace(reason, text=f"{slot}: {change}") if change else reason
    if reason.kind == "source" and reason.path.endswith("signature"):
        return _describe_listing(store, identity, reason)
    return reason


def _describe_listing(store: Store, identity: Identity, reason: Reason) -> Reason:
    name = reason.path.split(".")[-2]
    before = recall_listing(store, str(reason.before))
    after = identity.listings.get(name)
    if before is None or after is None:
        return reason
    return replace(reason, text=f"{name}: {describe_listing_change(before, after)}")


def _manifest(store: Store, digest: str) -> Manifest | None:
    return store.trees.get(digest) if store.trees.has(digest) else None


def _where(stage: StageSpec, path: str) -> str | None:
    location = stage.where(path)
    if location is None:
        return None
    return str(location) if location.is_override else f"{location.file}:{location.line}"
