"""What the stages of a run have recorded by step, for those who draw it elsewhere: TensorBoard, notebooks.

::

    from pipelines.report.recorded import Recording, open_run

    for stage in Recording(*open_run("specs/quickstart.yaml")).read():
        print(stage.stage, stage.values["loss"][100].value)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.canonical import JsonObject
from pipelines.progress.board import Board, StageLine, as_number, as_object, as_text
from pipelines.report.find import find_run
from pipelines.report.history import Stretch, evidence
from pipelines.report.problems import Problems
from pipelines.report.view import read_board, run_status

if TYPE_CHECKING:
    from pipelines.store.attempts import Attempt, StreamReader
    from pipelines.store.store import Store

_NOT_VALUES = frozenset({"step", "time", "attempt"})


@dataclass(frozen=True, slots=True)
class Value:
    """A number as it was recorded at `time` (Unix seconds)."""

    time: float
    value: float


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as it was recorded at `time`; `stored` is its name in `attempt`."""

    time: float
    caption: str
    attempt: Attempt
    stored: str

    def read(self) -> bytes:
        """The PNG; empty where the store has lost it."""
        from pipelines.store.objects import ObjectNotFound

        try:
            return self.attempt.picture(self.stored)
        except ObjectNotFound:
            return b""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One stage. `settings` are those of the spec, `beginning` is the key under which its training began.

    `values` and `pictures` hold what counts at each step, by name: of a step made twice, what was recorded last.
    `began` is whether it looked for a checkpoint to go on from.
    """

    stage: str
    uses: str
    beginning: str
    settings: JsonObject
    values: Mapping[str, Mapping[int, Value]]
    pictures: Mapping[str, Mapping[int, Shot]]
    began: bool = False

    @property
    def is_training(self) -> bool:
        """Whether it began as trainings do or, of before that was noted, recorded more than one step: a curve."""
        steps = {step for found in (*self.values.values(), *self.pictures.values()) for step in found}
        return self.began or len(steps) > 1


def open_run(target: str, store: str | None = None) -> tuple[Store, str]:
    """The store and the run that `target` means: a spec file (its latest run), or how a run's id begins.

    Runs are looked for in `store`, or in the spec's, or in ``./.sharpline``. Raises UsageError for none.
    """
    from pipelines.spec.load import load_spec
    from pipelines.store.store import open_store

    path = Path(target)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        spec = load_spec(path)
        opened = open_store(store or spec.store, create=False)
        return opened, find_run(opened, None, spec.name)
    opened = open_store(store or ".sharpline", create=False)
    return opened, find_run(opened, target, None)


@dataclass
class Recording:
    """Reads a run again and again as it grows; each time only what is new is fetched from the store."""

    store: Store
    run: str
    running: bool = True
    """Whether the run went on when it was last read."""
    name: str = ""
    """That of the run's spec, once it was read."""
    _seen: dict[str, tuple[StreamReader, list[JsonObject]]] = field(default_factory=dict)

    def read(self) -> tuple[Recorded, ...]:
        """All stages that have recorded something by step, in the run's order."""
        problems, record = Problems(), self.store.run(self.run)
        board: Board = read_board(record, problems)
        self.running = run_status(board, time.time()) == "running"
        spec = as_object(problems.guard("spec.json", None, record.get_json, "spec.json"))
        self.name = as_text(board.start.get("spec")) or as_text(spec.get("name")) or self.run
        stages = as_object(spec.get("stages"))
        found = []
        for line in board.stages.values():
            key, stretches, _ = evidence(self.store, record, line, problems)
            part = as_object(stages.get(line.name))
            stage = self._stage(line, key, stretches, part)
            if stage.values or stage.pictures:
                found.append(stage)
        return tuple(found)

    def _stage(self, line: StageLine, key: str, stretches: list[Stretch], part: JsonObject) -> Recorded:
        values: dict[str, dict[int, Value]] = {}
        pictures: dict[str, dict[int, Shot]] = {}
        for stretch in stretches:
            for row in filter(stretch.counts, self._rows(stretch.attempt, "metrics")):
                step, when = as_number(row.get("step")), as_number(row.get("time")) or 0.0
                for name, value in row.items():
                    number = as_number(value)
                    if step is not None and number is not None and name not in _NOT_VALUES:
                        values.setdefault(name, {})[int(step)] = Value(when, number)
            for row in filter(stretch.counts, self._rows(stretch.attempt, "images")):
                step, when = as_number(row.get("step")), as_number(row.get("time")) or 0.0
                if step is not None:
                    stored = as_text(row.get("picture") or row.get("name"))
                    shot = Shot(when, as_text(row.get("caption")), stretch.attempt, stored)
                    pictures.setdefault(as_text(row.get("name")), {})[int(step)] = shot
        beginning = stretches[0].attempt.key if stretches else key
        uses = line.uses or as_text(part.get("uses"))
        began = any(stretch.training for stretch in stretches)
        return Recorded(line.name, uses, beginning, as_object(part.get("with")), values, pictures, began)

    def _rows(self, attempt: Attempt, stream: str) -> list[JsonObject]:
        reader, rows = self._seen.setdefault(f"{attempt.folder}/{stream}", (attempt.reader(stream), []))
        rows += reader.new_rows()
        return rows
