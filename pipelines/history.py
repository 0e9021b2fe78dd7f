"""Which keys a stage of a spec had lately: a mutable hint, so that a plan can say what changed since.

Losing it loses explanations and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pipelines.canonical import Json, JsonObject
from pipelines.errors import Damaged
from pipelines.store.objects import ObjectNotFound
from pipelines.store.schema import decode
from pipelines.store.store import Store

HISTORY_SCHEMA = 1
REMEMBERED = 8  # enough to go back and forth between a few settings and still be told the nearest


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier commit of the same stage of the same spec. `files` is its code fingerprint by file."""

    key: str
    payload: JsonObject
    files: Mapping[str, str] = field(default_factory=dict)


class History:
    """Earlier keys by stage cell of one spec (specs are told apart by name)."""

    def __init__(self, store: Store, spec: str) -> None:
        self._store, self._spec = store, spec

    def candidates(self, cell: str) -> list[Earlier]:
        """Earlier commits, latest first."""
        found = []
        for key in self._keys(cell):
            try:
                commit = self._store.key_log(key).state().committed
            except (Damaged, ValueError):  # a damaged log of another key, or a damaged hint
                continue
            if commit is not None:
                code = cast(JsonObject, commit.meta.get("code") or {})
                found.append(Earlier(key, commit.payload, cast("dict[str, str]", code.get("files", {}))))
        return found

    def record(self, cell: str, key: str) -> None:
        """Remember that `cell` now has `key`."""
        keys = [key, *(k for k in self._keys(cell) if k != key)][:REMEMBERED]
        if keys == self._keys(cell):
            return
        data: dict[str, Json] = {"schema": HISTORY_SCHEMA, "keys": list(keys)}
        self._store.objects.put(self._path(cell), json.dumps(data).encode())

    def _keys(self, cell: str) -> list[str]:
        try:
            data = decode(self._store.objects.get(self._path(cell)), HISTORY_SCHEMA, self._path(cell))
        except (ObjectNotFound, Damaged):
            return []
        keys = data.get("keys")
        return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []

    def _path(self, cell: str) -> str:
        return f"latest/{self._spec}/{cell}.json"
