"""Which runs a store holds, and which of them somebody means."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.canonical import JsonObject
from pipelines.errors import UsageError
from pipelines.progress.board import as_text
from pipelines.report.model import RunStatus
from pipelines.report.problems import Problems
from pipelines.report.view import read_board, run_seconds, run_status

if TYPE_CHECKING:
    from pipelines.store.store import Store


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in a list. `seconds` and `started` are None where events are missing."""

    run: str
    spec: str
    status: RunStatus
    started: float | None
    seconds: float | None
    built: int
    reused: int
    failed: int
    total: int

    def to_json(self) -> JsonObject:
        return {
            "run": self.run,
            "spec": self.spec,
            "status": self.status,
            "started": self.started,
            "seconds": self.seconds,
            "built": self.built,
            "reused": self.reused,
            "failed": self.failed,
            "stages": self.total,
        }


def run_line(store: Store, run: str) -> RunLine:
    """The line of one run; broken pieces leave blanks."""
    board = read_board(store.run(run), Problems())
    return RunLine(
        run=run,
        spec=as_text(board.start.get("spec")),
        status=run_status(board, time.time()),
        started=board.started,
        seconds=run_seconds(board),
        built=board.count("done"),
        reused=board.count("reused"),
        failed=board.count("failed"),
        total=len(board.stages),
    )


def find_run(store: Store, run: str | None, spec: str | None) -> str:
    """The run called `run` (or the only one that begins so), else the latest one, of `spec` where that is given.

    Raises UsageError that lists what there is.
    """
    runs = store.runs()
    if run is not None:
        if run in runs:
            return run
        found = [known for known in runs if known.startswith(run)]
        if len(found) == 1:
            return found[0]
        word = f"{len(found)} runs begin with {run!r}" if found else f"there is no run {run!r}"
        raise UsageError(f"{word} in {store.url}; {_some(found or runs)}")
    for known in reversed(runs):
        if spec is None or _spec_name(store, known) == spec:
            return known
    of = f" of the spec {spec!r}" if spec else ""
    raise UsageError(f"no run{of} is recorded in {store.url}; start one with `sharpline run`, or name another --store")


def _spec_name(store: Store, run: str) -> str:
    record = store.run(run)
    written = Problems().guard("spec.json", None, record.get_json, "spec.json")
    return as_text((written or {}).get("name"))


def _some(runs: list[str]) -> str:
    return f"the latest are {', '.join(reversed(runs[-4:]))}" if runs else "it holds no runs"
