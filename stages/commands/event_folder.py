"""One folder of TensorBoard event files, kept equal to what one stage has recorded.

``exported.json`` beside the event files says what they hold: of every name how many steps, the last of them and a
digest, and the size of every file. New steps are appended. Whatever does not fit (steps that were made again, other
settings, a file that a killed export left half written) makes the folder be written anew, so that whoever reads the
files meets every step of a name once and in order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.commands.event_file import PREFIX, EventFile, opening_events, picture_event, value_event

if TYPE_CHECKING:
    from pipelines.report.recorded import Recorded

STATE = "exported.json"


class _Point(Protocol):
    """A value or a picture: of both, when it was recorded tells whether it is the one that was exported."""

    @property
    def time(self) -> float: ...


_Points = Mapping[str, Mapping[int, _Point]]


@dataclass(frozen=True)
class Added:
    """What one export has written; `step` is the last one of the folder."""

    values: int
    pictures: int
    step: int
    anew: bool
    """Whether earlier files were thrown away for it."""


def folder_name(stage: Recorded) -> str:
    """``teacher-2f9eeff8``: the same as long as one training goes on, whatever its `steps`; other settings, another."""
    return f"{stage.stage}-{stage.beginning.rpartition(':')[2][:8]}".replace(os.sep, "_")


class EventFolder:
    """Writes into `folder`, which it makes. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: EventFile | None = None

    def add(self, stage: Recorded) -> Added:
        """Bring the folder up to what `stage` has recorded."""
        points: _Points = {**_named("values", stage.values), **_named("pictures", stage.pictures)}
        steps = self._exported(points, stage)
        fresh, anew = steps is None, False
        if steps is None:
            steps, anew = {}, self._clear()
            self._open().write(opening_events(self.folder.name, _began(points), stage.settings))
        values = sorted((s, n) for n, found in stage.values.items() for s in found if s > steps.get(f"values {n}", -1))
        shots = sorted((s, n) for n, f in stage.pictures.items() for s in f if s > steps.get(f"pictures {n}", -1))
        for step, name in values:
            value = stage.values[name][step]
            self._open().write([value_event(name, step, value.time, value.value)])
        for step, name in shots:
            shot = stage.pictures[name][step]
            png = shot.read()
            if png:
                self._open().write([picture_event(name, step, shot.time, png)])
        if fresh or values or shots:
            self._remember(points, stage)
        return Added(len(values), len(shots), max(max(found) for found in points.values()), anew)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> EventFile:
        """The file of this process, begun with the first event."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = EventFile(self.folder)
        return self._file

    def _exported(self, points: _Points, stage: Recorded) -> dict[str, int] | None:
        """The last exported step by name; None when the folder has to be written anew."""
        try:
            state: dict[str, Any] = json.loads((self.folder / STATE).read_text())
            steps = {name: int(held["last"]) for name, held in state["points"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        now = {name: _held(found, steps[name]) for name, found in points.items() if name in steps}
        same = state["points"] == now and state.get("files") == self._sizes()
        return steps if same and state.get("settings") == stage.settings else None

    def _remember(self, points: _Points, stage: Recorded) -> None:
        """Written last: an export that is killed before it leaves files of other sizes than those stated."""
        if self._file is not None:
            self._file.flush()
        held = {name: _held(found, max(found)) for name, found in points.items()}
        state = {"points": held, "files": self._sizes(), "settings": stage.settings}
        draft = self.folder / f"{STATE}.new"
        draft.write_text(json.dumps(state, indent=1))
        draft.replace(self.folder / STATE)

    def _clear(self) -> bool:
        """Throw the event files away; whether there were any."""
        self.close()
        found = list(self._sizes())
        for name in found:
            (self.folder / name).unlink()
        return bool(found)

    def _sizes(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in sorted(self.folder.glob(f"{PREFIX}*"))}


def _named(kind: str, found: Mapping[str, Mapping[int, _Point]]) -> dict[str, Mapping[int, _Point]]:
    return {f"{kind} {name}": steps for name, steps in found.items() if steps}


def _held(found: Mapping[int, _Point], last: int) -> dict[str, Any]:
    """What is exported of one name: everything up to the step `last`."""
    steps = [step for step in sorted(found) if step <= last]
    lines = "".join(f"{step} {found[step].time}\n" for step in steps)
    return {"last": last, "steps": len(steps), "digest": hashlib.sha256(lines.encode()).hexdigest()[:32]}


def _began(points: _Points) -> float:
    return min(point.time for found in points.values() for point in found.values())
