"""What a driver says while it runs: a flat stream of small JSON events.

One :class:`Event` is one line of ``runs/<run>/events``, one update of the terminal, one line of
``sharpline run --json``. Consumers ignore types and fields that they do not know.
An error's `frame` is the innermost one in the user's code: ``file:line in function``, then its source line.

======================  ======================================================================================
type                    data
======================  ======================================================================================
``run.started``         run, spec (name), file, executor, host, pid, argv, versions {name: version}, store (URL),
                        command (the shell command that continues this run)
``stage.planned``       uses, state (cached|run|resume|pending|lost|blocked), reasons [text], key or null
``stage.waiting``       key, holder (text): another live run builds the same key
``stage.started``       key, attempt, how (run|resume), partitions {total, done} or null
``stage.progress``      done, total, unit, partition or null (at most one a second a unit)
``partition.done``      partition, seconds, done, total
``stage.stopping``      seconds (at most): the run ends, and this stage was asked to save what it has
``stage.warning``       text, count (units that warned so), partition (the first of them) or null
``stage.retry``         partition or null, error (text), left (retries left), delay (seconds)
``stage.committed``     key, attempt, how (built|resumed|adopted), outputs {slot: digest}, seconds
``stage.reused``        key, outputs {slot: digest}
``stage.failed``        partition or null, error {kind (user|lost|store|internal), type, message, frame, traceback}, log
``stage.skipped``       because (text): an upstream failed, or the run stopped
``run.finished``        status (ok|failed|interrupted), seconds, built, reused, failed, skipped (counts)
``report.written``      report (path or URL of report.html); for the terminal only, after ``run.finished``
======================  ======================================================================================
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from pipelines.canonical import Json, JsonObject

EVENTS_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Event:
    """`time` is Unix seconds; `stage` the stage's cell name or None for events of the whole run."""

    type: str
    stage: str | None = None
    data: JsonObject = field(default_factory=dict)
    time: float = field(default_factory=time.time)

    def to_json(self) -> JsonObject:
        head: JsonObject = {"time": round(self.time, 3), "type": self.type}
        if self.stage is not None:
            head["stage"] = self.stage
        return {**head, **self.data}

    @classmethod
    def from_json(cls, line: Mapping[str, Json]) -> Event:
        data = {k: v for k, v in line.items() if k not in ("time", "type", "stage")}
        return cls(cast(str, line["type"]), cast("str | None", line.get("stage")), data, cast(float, line["time"]))


class EventSink(Protocol):
    """Anything that takes events: the run's record, the terminal, a JSON printer."""

    def emit(self, event: Event) -> None: ...
