"""The state of a run, folded from its events: what the terminal and the report both look at."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pipelines.canonical import Json, JsonObject
from pipelines.events import Event
from pipelines.progress.rates import Rate

Phase: TypeAlias = Literal["queued", "waiting", "running", "done", "reused", "failed", "skipped"]


def as_object(value: Json) -> JsonObject:
    """`value` where it is an object, else an empty one: events may lack or misspell anything."""
    return value if isinstance(value, dict) else {}


def as_text(value: Json) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def as_number(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def as_texts(value: Json) -> list[str]:
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return [value] if isinstance(value, str) and value else []


@dataclass(frozen=True, slots=True)
class Frame:
    """The place in the user's code where it failed."""

    file: str = ""
    line: int | None = None
    function: str = ""
    source: str = ""

    @property
    def where(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} in {self.function}" if self.function else place


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage failed, as ``stage.failed`` says."""

    stage: str
    partition: str | None
    kind: str
    type: str
    message: str
    frame: Frame | None
    traceback: str
    log: str

    @property
    def unit(self) -> str:
        """``pairs[17]``, or the stage's name alone."""
        if not self.partition:
            return self.stage
        return self.partition if self.partition.startswith(f"{self.stage}[") else f"{self.stage}[{self.partition}]"

    @property
    def cause(self) -> str:
        return f"{self.type}: {self.message}" if self.type not in _EXPLAINED else self.message

    @classmethod
    def of(cls, event: Event) -> Failure:
        raw = event.data.get("error")
        error = as_object(raw)
        explained = as_text(error.get("type")) == "StageError"  # its message is for the user; its frame is ours
        return cls(
            stage=event.stage or "",
            partition=as_text(event.data.get("partition")) or None,
            kind=as_text(error.get("kind")) or "user",
            type=as_text(error.get("type")),
            message=as_text(error.get("message")) or (raw if isinstance(raw, str) else ""),
            frame=None if explained else _frame(error.get("frame")),
            traceback=as_text(error.get("traceback")),
            log=as_text(event.data.get("log")),
        )


@dataclass(frozen=True, slots=True)
class Warned:
    """What a stage warned of, as ``stage.warning`` says; `count` units of it did so, the first was `partition`."""

    text: str
    partition: str | None = None
    count: int = 1

    @property
    def where(self) -> str:
        """``partition 3`` or ``17 partitions, the first is 3``; nothing for a warning of the whole stage."""
        if not self.partition:
            return ""
        if self.count > 1:
            return f"{self.count:,} partitions, the first is {self.partition}"
        return f"partition {self.partition}"

    @property
    def words(self) -> str:
        return f"warning: {self.text}" + (f" ({self.where})" if self.where else "")

    @classmethod
    def of(cls, event: Event) -> Warned:
        count = as_number(event.data.get("count"))
        partition = as_text(event.data.get("partition")) or None
        return cls(as_text(event.data.get("text")), partition, 1 if count is None else int(count))


def _frame(value: Json) -> Frame | None:
    if isinstance(value, str) and value.strip():
        where, _, source = value.strip().partition("\n")
        return Frame(file=where, source=source.strip())
    data = as_object(value)
    if not data:
        return None
    line = as_number(data.get("line"))
    return Frame(
        as_text(data.get("file")),
        None if line is None else int(line),
        as_text(data.get("function")),
        as_text(data.get("source")).strip(),
    )


@dataclass
class StageLine:
    """One stage as the events tell it. `done` and `total` are partitions or whatever `unit` says."""

    name: str
    uses: str = ""
    plan: str = ""
    reasons: list[str] = field(default_factory=list)
    phase: Phase = "queued"
    how: str = ""
    key: str = ""
    attempt: int | None = None
    holder: str = ""
    started: float | None = None
    last: float | None = None
    seconds: float | None = None
    partitioned: bool = False
    found: float = 0
    done: float = 0
    total: float = 0
    unit: str = ""
    inner: dict[str, float] = field(default_factory=dict)
    rate: Rate = field(default_factory=Rate)
    outputs: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    because: str = ""

    @property
    def fraction(self) -> float | None:
        """How much is done, 0 to 1, counting partitions in flight in part; None while that is unknown."""
        if self.phase in ("done", "reused"):
            return 1.0
        if self.total <= 0:
            return None
        return min(1.0, (self.done + sum(self.inner.values())) / self.total)

    def elapsed(self, now: float) -> float | None:
        if self.seconds is not None:
            return self.seconds
        return None if self.started is None or self.phase != "running" else max(0.0, now - self.started)


@dataclass
class Board:
    """Folds events in order. Unknown types and fields are ignored; nothing an event says can raise."""

    stages: dict[str, StageLine] = field(default_factory=dict)
    start: JsonObject = field(default_factory=dict)
    finish: JsonObject | None = None
    started: float | None = None
    last: float | None = None
    report: str = ""

    @classmethod
    def replay(cls, events: Iterable[Event]) -> Board:
        board = cls()
        for event in events:
            board.apply(event)
        return board

    @property
    def name(self) -> str:
        return as_text(self.start.get("spec")) or "run"

    @property
    def failures(self) -> list[Failure]:
        return [failure for stage in self.stages.values() for failure in stage.failures]

    @property
    def command(self) -> str:
        """The shell command that continues this run."""
        stated = as_text(self.start.get("command"))
        if stated:
            return stated
        argv = as_texts(self.start.get("argv"))
        own = bool(argv) and argv[0].replace("\\", "/").rsplit("/", 1)[-1] in ("sharpline", "main.py", "__main__.py")
        return shlex.join(["sharpline", *(argv[1:] if own else argv)]) if argv else ""

    def count(self, phase: Phase) -> int:
        return sum(stage.phase == phase for stage in self.stages.values())

    def of(self, phase: Phase) -> list[StageLine]:
        return [stage for stage in self.stages.values() if stage.phase == phase]

    def apply(self, event: Event) -> None:
        self.last = event.time
        if event.stage is None:
            self._apply_run(event)
            return
        stage = self.stages.get(event.stage)
        if stage is None:
            stage = self.stages[event.stage] = StageLine(event.stage)
        stage.last = event.time
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(stage, event)

    def _apply_run(self, event: Event) -> None:
        if event.type == "run.started":
            self.start, self.started = event.data, event.time
        elif event.type == "run.finished":
            self.finish = event.data
        elif event.type == "report.written":
            self.report = as_text(event.data.get("report"))


def _planned(stage: StageLine, event: Event) -> None:
    stage.uses = as_text(event.data.get("uses"))
    stage.plan = as_text(event.data.get("state"))
    stage.reasons = as_texts(event.data.get("reasons"))
    stage.key = as_text(event.data.get("key"))


def _waiting(stage: StageLine, event: Event) -> None:
    stage.phase, stage.holder = "waiting", as_text(event.data.get("holder"))


def _started(stage: StageLine, event: Event) -> None:
    stage.phase, stage.started = "running", event.time
    _identify(stage, event)
    stage.how = as_text(event.data.get("how"))
    partitions = as_object(event.data.get("partitions"))
    if partitions:
        stage.partitioned, stage.unit = True, "parts"
        stage.found = stage.done = as_number(partitions.get("done")) or 0
        stage.total = as_number(partitions.get("total")) or 0
        stage.rate.add(event.time, stage.done)


def _progress(stage: StageLine, event: Event) -> None:
    done, total = as_number(event.data.get("done")), as_number(event.data.get("total"))
    if done is None or total is None:
        return
    partition = as_text(event.data.get("partition"))
    if partition:
        stage.inner[partition] = min(1.0, done / total) if total > 0 else 0.0
    elif not stage.partitioned:
        stage.done, stage.total, stage.unit = done, total, as_text(event.data.get("unit"))
        stage.rate.add(event.time, done)


def _partition_done(stage: StageLine, event: Event) -> None:
    stage.inner.pop(as_text(event.data.get("partition")), None)
    done, total = as_number(event.data.get("done")), as_number(event.data.get("total"))
    stage.partitioned, stage.unit = True, "parts"
    stage.done = stage.done + 1 if done is None else done
    stage.total = total or stage.total
    stage.rate.add(event.time, stage.done)


def _retry(stage: StageLine, event: Event) -> None:
    partition = as_text(event.data.get("partition"))
    stage.inner.pop(partition, None)
    unit = f"{stage.name}[{partition}]" if partition else stage.name
    left = as_number(event.data.get("left"))
    tail = "" if left is None else f" ({left:.0f} left)"
    stage.retries.append(f"{unit}: {as_text(event.data.get('error'))}; trying again{tail}")


def _warning(stage: StageLine, event: Event) -> None:
    stage.warnings.append(Warned.of(event))


def _committed(stage: StageLine, event: Event) -> None:
    stage.phase = "done"
    _identify(stage, event)
    stage.how = as_text(event.data.get("how")) or "built"
    stage.seconds = as_number(event.data.get("seconds"))
    if stage.seconds is None and stage.started is not None:
        stage.seconds = event.time - stage.started
    stage.inner.clear()
    stage.done = stage.total  # the last steps' progress events may have been held back
    _outputs(stage, event)


def _reused(stage: StageLine, event: Event) -> None:
    stage.phase = "reused"
    _identify(stage, event)
    _outputs(stage, event)


def _failed(stage: StageLine, event: Event) -> None:
    stage.phase = "failed"
    if stage.started is not None and stage.seconds is None:
        stage.seconds = event.time - stage.started
    stage.failures.append(Failure.of(event))


def _skipped(stage: StageLine, event: Event) -> None:
    stage.phase, stage.because = "skipped", as_text(event.data.get("because"))


def _identify(stage: StageLine, event: Event) -> None:
    stage.key = as_text(event.data.get("key")) or stage.key
    attempt = as_number(event.data.get("attempt"))
    stage.attempt = stage.attempt if attempt is None else int(attempt)


def _outputs(stage: StageLine, event: Event) -> None:
    outputs = as_object(event.data.get("outputs"))
    stage.outputs = {slot: digest for slot, digest in outputs.items() if isinstance(digest, str)}


# Errors whose message says everything to the user: the class name in front of it would be a word of ours.
_EXPLAINED = frozenset({"", "StageError", "UsageError", "StoreError", "Blocked", "Lost"})

_HANDLERS = {
    "stage.planned": _planned,
    "stage.waiting": _waiting,
    "stage.started": _started,
    "stage.progress": _progress,
    "partition.done": _partition_done,
    "stage.retry": _retry,
    "stage.warning": _warning,
    "stage.committed": _committed,
    "stage.reused": _reused,
    "stage.failed": _failed,
    "stage.skipped": _skipped,
}
