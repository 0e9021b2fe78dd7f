"""Where each stage of a run stands, and what is said when it settles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipelines.assessment import Assessment, Outputs
from pipelines.building import Drive
from pipelines.canonical import Json, JsonObject
from pipelines.events import Event
from pipelines.failure import Failure
from pipelines.history import History

Status: TypeAlias = Literal["waiting", "held", "preparing", "building", "built", "reused", "failed", "skipped"]
SETTLED: frozenset[Status] = frozenset({"built", "reused", "failed", "skipped"})


@dataclass(slots=True)
class StageState:
    """Where one stage of this run stands."""

    status: Status = "waiting"
    outputs: Outputs | None = None
    assessment: Assessment | None = None
    because: str = ""

    @property
    def settled(self) -> bool:
        return self.status in SETTLED


class Standings:
    """The states of all stages of a run, by name; `settled` ones never change again."""

    def __init__(self, drive: Drive, history: History, order: Sequence[str]) -> None:
        self._drive, self._history = drive, history
        self.stages: dict[str, StageState] = {name: StageState() for name in order}

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return all(state.settled for state in self.stages.values())

    def having(self, status: Status) -> list[str]:
        """The names of the stages that stand there, in order."""
        return [name for name, state in self.stages.items() if state.status == status]

    def reuse(self, name: str, assessment: Assessment) -> None:
        """What is in the store is taken."""
        assert assessment.identity is not None
        assert assessment.outputs is not None
        state = self.stages[name]
        state.status, state.outputs, state.assessment = "reused", assessment.outputs, assessment
        self._history.record(name, assessment.identity.key)
        self.emit("stage.reused", name, key=assessment.identity.key, outputs=dict(assessment.outputs))

    def built(self, name: str, key: str, outputs: Outputs) -> None:
        """Its building has committed, and has said so."""
        state = self.stages[name]
        state.status, state.outputs = "built", outputs
        self._history.record(name, key)

    def skip(self, name: str, because: str) -> None:
        """It is not built in this run."""
        state = self.stages[name]
        state.status, state.because = "skipped", because
        self.emit("stage.skipped", name, because=because)

    def fail(self, name: str, failure: Failure) -> None:
        """It failed before any unit of it ran."""
        self.stages[name].status = "failed"
        self.emit("stage.failed", name, partition=None, error=failure.to_json(), log="")

    def emit(self, kind: str, stage: str, **data: Json) -> None:
        """Tell the run's record and display something of a stage."""
        payload: JsonObject = dict(data)
        self._drive.emit(Event(kind, stage, payload))

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many stages stand where."""
        totals: dict[Status, int] = {}
        for state in self.stages.values():
            totals[state.status] = totals.get(state.status, 0) + 1
        return totals
