"""Run records: what one `sharpline run` set out to do and did, under ``runs/<run>/``.

Written by one driver, readable by anybody while it runs. What was observed of the stages lies with the keys
(`attempts`): a run holds pointers to it, so a run that found everything cached shows everything too.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.canonical import Json, JsonObject
from pipelines.store.objects import ObjectNotFound, ObjectStore, quote_name, unquote_name
from pipelines.store.schema import decode, encode
from pipelines.store.streams import SEGMENT_SECONDS, StreamReader, StreamWriter

RUN_SCHEMA = 1


def new_run_id() -> str:
    """A run id that sorts by time: ``20260131-235959-1a2b`` (UTC)."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


class RunRecord:
    """One run. Files are replaced whole; events are a stream."""

    def __init__(self, objects: ObjectStore, run_id: str, seconds: float = SEGMENT_SECONDS) -> None:
        self.id = run_id
        self.folder = f"runs/{run_id}"
        self._objects, self._seconds = objects, seconds
        self._events: StreamWriter | None = None

    def put_json(self, name: str, data: Mapping[str, Json]) -> None:
        """Write or replace a JSON file (``spec.json``). A schema number is added when there is none."""
        self._objects.put(self._key(name), encode(data, RUN_SCHEMA))

    def get_json(self, name: str) -> JsonObject | None:
        """What `put_json` wrote, or None."""
        key = self._key(name)
        try:
            return decode(self._objects.get(key), RUN_SCHEMA, f"{self._objects.url}: {key}")
        except ObjectNotFound:
            return None

    def put_text(self, name: str, text: str) -> None:
        """Write or replace a text file (``report.html``)."""
        self._objects.put(self._key(name), text.encode())

    def path(self, name: str) -> Path | None:
        """Where a file lies (or would), or None for a remote store."""
        return self._objects.local_path(self._key(name))

    def stages(self) -> dict[str, JsonObject]:
        """The records ``stages/<cell>.json`` by cell name."""
        prefix = f"{self.folder}/stages/"
        cells = [i.key[len(prefix) : -len(".json")] for i in self._objects.list(prefix) if i.key.endswith(".json")]
        found = {unquote_name(cell): self.get_json(f"stages/{unquote_name(cell)}.json") for cell in cells}
        return {cell: record for cell, record in found.items() if record is not None}

    def append_event(self, event: Mapping[str, Json]) -> None:
        """Add an event (see `pipelines.events`)."""
        if self._events is None:
            self._events = StreamWriter(self._objects, f"{self.folder}/events", self._seconds)
        self._events.append(event)

    def read_events(self) -> list[JsonObject]:
        """All events that were stored so far."""
        return self.event_reader().new_rows()

    def event_reader(self) -> StreamReader:
        """A reader that follows the events of a live run."""
        return StreamReader(self._objects, f"{self.folder}/events")

    def flush(self) -> None:
        """Make every event visible."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Make every event visible; the last word of the driver."""
        if self._events is not None:
            self._events.close()

    def _key(self, name: str) -> str:
        return f"{self.folder}/{quote_name(name)}"
