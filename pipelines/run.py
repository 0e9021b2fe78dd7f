"""From a spec to results: one call that plans, executes, records, reports, and can be repeated after any failure."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Literal, TypeAlias

from pipelines.building import Drive
from pipelines.canonical import Json, JsonObject
from pipelines.errors import StoreError, UsageError
from pipelines.events import Event, EventSink
from pipelines.executors.base import Executor
from pipelines.graph import Graph
from pipelines.plan import Plan, Planner
from pipelines.scheduler import SETTLED, Options, Scheduler, Services
from pipelines.spec.model import Spec
from pipelines.store.heartbeat import Heartbeat
from pipelines.store.keylog import Holder
from pipelines.store.runs import RunRecord
from pipelines.store.store import Store

ECHO: Final = 0.5  # seconds: two signals that come closer are one request

RunStatus: TypeAlias = Literal["ok", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `report` is its page, where one could be written."""

    run: str
    status: RunStatus
    report: Path | None


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """Where units run: ``ray`` (embedded, or at `address`) or ``local``. `cpus` limits what is used of this machine."""

    name: Literal["ray", "local"] = "ray"
    address: str | None = None
    cpus: int | None = None


class Recorder:
    """Sends every event to the run's record and to the display, and keeps one pointer a stage."""

    def __init__(self, record: RunRecord, display: EventSink, store: str) -> None:
        self._record, self._display, self.store = record, display, store
        self._pointers: dict[str, JsonObject] = {}

    def emit(self, event: Event) -> None:
        self._display.emit(event)
        self._record.append_event(event.to_json())
        if event.stage is not None:
            self._point(event.stage, event)

    def _point(self, stage: str, event: Event) -> None:
        """``runs/<run>/stages/<cell>.json``: where everything about the stage in this run is found."""
        data = event.data
        pointer: JsonObject | None = None
        if event.type == "stage.started":
            pointer = {"state": "running", "key": data["key"], "attempt": data["attempt"], "how": data["how"]}
        elif event.type == "stage.committed":
            pointer = {"state": "done", **{k: data[k] for k in ("key", "attempt", "how", "outputs", "seconds")}}
        elif event.type == "stage.reused":
            pointer = {"state": "done", "how": "reused", "key": data["key"], "outputs": data["outputs"]}
        elif event.type == "stage.failed":
            pointer = {**self._pointers.get(stage, {}), "state": "failed", "error": data["error"]}
        elif event.type == "stage.skipped":
            pointer = {**self._pointers.get(stage, {}), "state": "skipped", "because": data["because"]}
        if pointer is not None:
            self._pointers[stage] = pointer
            self._record.put_json(f"stages/{stage}.json", {"schema": 1, "stage": stage, **pointer})


def new_run_id(name: str) -> str:
    """A run id that sorts by time and tells specs apart: ``20261122-041530-quickstart-3f9a``."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{name}-{secrets.token_hex(2)}"


def run(
    spec: Spec,
    graph: Graph,
    store: Store,
    display: EventSink,
    *,
    executor: ExecutorChoice | None = None,
    options: Options | None = None,
    rebuild: Sequence[str] = (),
    argv: Sequence[str] = (),
) -> RunResult:
    """Build whatever of `spec` is not in the store yet, and record the run. Ctrl-C ends it cleanly.

    Raises SharplineError subclasses for usage errors, held leases (when not waiting) and lost clusters; a
    failing stage is a status, not an exception.
    """
    choice, options = executor or ExecutorChoice(), options or Options()
    started = time.monotonic()
    run_id = new_run_id(spec.name)
    record = store.run(run_id)
    recorder = Recorder(record, display, store.url)
    holder = Holder.current(run_id)
    planner = Planner(spec, graph, store, rebuild=rebuild)
    plan = planner.plan(options.selected)
    record.put_json("spec.json", spec.to_json())
    record.put_json("plan.json", plan.to_json())
    _announce(recorder, spec, plan, run_id, choice, argv)
    drive = Drive(
        store=store,
        run=run_id,
        code=tuple(str(path) for path in spec.code),
        emit=recorder.emit,
        keep_going=options.keep_going,
    )
    heart = contextlib.ExitStack()

    services = Services(
        executor=lambda: make_executor(choice, store, spec),
        alive=lambda: heart.enter_context(Heartbeat(store, holder)),
    )
    scheduler = Scheduler(drive, planner, services, holder, options)
    status: RunStatus = "interrupted"
    try:
        with heart, _interruptible():
            scheduler.run()
        status = "failed" if scheduler.counts.get("failed") else "ok"
    except KeyboardInterrupt:
        pass
    except BaseException as error:
        with contextlib.suppress(StoreError):  # the store may be what failed: the first error is the one to tell
            _finish(recorder, record, scheduler, "failed", time.monotonic() - started, f"the run ended: {error}")
        raise
    _finish(recorder, record, scheduler, status, time.monotonic() - started, "interrupted")
    report = _report(store, run_id)
    if report is not None:
        display.emit(Event("report.written", None, {"report": str(report)}))
    return RunResult(run_id, status, report)


def make_executor(choice: ExecutorChoice, store: Store, spec: Spec) -> Executor:
    """Start the chosen executor. Ray is imported only here."""
    # Threads that wait must not spin: two trainings on the same cores ran three times slower for it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if choice.name == "local":
        from pipelines.executors.local import LocalExecutor

        return LocalExecutor(choice.cpus)
    from pipelines.executors.ray import RayExecutor, require_shared_store

    if choice.address is None:
        return RayExecutor(None, choice.cpus)
    from pipelines.executors.bundle import code_bundle

    executor = RayExecutor(choice.address, bundle=code_bundle(spec.code))
    root = store.local_root
    if root is not None:
        try:
            require_shared_store(executor, root)
        except UsageError:
            executor.close()
            raise
    return executor


def _announce(
    recorder: Recorder, spec: Spec, plan: Plan, run_id: str, choice: ExecutorChoice, argv: Sequence[str]
) -> None:
    versions: dict[str, Json] = {"python": sys.version.split()[0], "sharpline": _version("sharpline")}
    versions |= {name: _version(name) for name in ("ray", "torch", "numpy", "pyarrow", "pydantic")}
    data: JsonObject = {
        "run": run_id,
        "spec": spec.name,
        "file": str(spec.file),
        "executor": choice.name if choice.address is None else f"ray at {choice.address}",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "store": recorder.store,
        "command": "sharpline " + shlex.join(argv),
        "argv": list(argv),
        "versions": versions,
    }
    recorder.emit(Event("run.started", None, data))
    for stage in plan.stages.values():
        reasons: list[Json] = [str(reason) for reason in stage.reasons]
        key = stage.identity.key if stage.identity else None
        recorder.emit(
            Event(
                "stage.planned", stage.name, {"uses": stage.uses, "state": stage.state, "reasons": reasons, "key": key}
            )
        )


def _version(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _finish(
    recorder: Recorder, record: RunRecord, scheduler: Scheduler, status: RunStatus, seconds: float, because: str
) -> None:
    """The last words: `because` is said of the stages that the run left unsettled."""
    counts = scheduler.counts
    for name, state in scheduler.stages.items():
        if state.status not in SETTLED:
            recorder.emit(Event("stage.skipped", name, {"because": because}))
    recorder.emit(
        Event(
            "run.finished",
            None,
            {
                "status": status,
                "seconds": round(seconds, 3),
                "built": counts.get("built", 0),
                "reused": counts.get("reused", 0),
                "failed": counts.get("failed", 0),
                "skipped": counts.get("skipped", 0),
            },
        )
    )
    record.close()


def _report(store: Store, run_id: str) -> Path | None:
    """Write the report. A report that cannot be written must not turn a good run into a failed one."""
    from pipelines.report.write import write_report

    try:
        return write_report(store, run_id)
    except Exception as error:
        print(f"sharpline: the report could not be written: {type(error).__name__}: {error}", file=sys.stderr)
        return None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does. A second one no longer lets trainings save, a third waits for nothing.

    What comes at once with another counts with it: `timeout`, and whoever passes signals on, sends each one twice.
    """
    came, counted = 0, -math.inf

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal came, counted
        now = time.monotonic()
        if now - counted < ECHO:
            return
        came, counted = came + 1, now
        if came > 1:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    try:
        before: list[tuple[int, Callable[..., object] | int | None]] = [
            (number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)
        ]
    except ValueError:  # not the main thread: the caller owns the signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
