"""Gathers everything about one run out of the store. Whatever is missing is left out and named."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pipelines.canonical import Json, JsonObject
from pipelines.events import Event
from pipelines.progress.board import Board, StageLine, as_number, as_object, as_text
from pipelines.report.artifacts import metrics_of, output_view, samples_of
from pipelines.report.history import evidence, pointer_of
from pipelines.report.model import MetricTable, OutputView, RunStatus, RunView, SampleSheet, StageState, StageView
from pipelines.report.observations import MAX_CURVES, curves, log_tail, pictures
from pipelines.report.pictures import by_step
from pipelines.report.problems import Problems
from pipelines.report.tables import name_models, with_observed
from pipelines.report.words import duration

if TYPE_CHECKING:
    from pipelines.store.keylog import Commit
    from pipelines.store.runs import RunRecord
    from pipelines.store.store import Store

SILENCE: Final = 90.0
"""Seconds without an event after which a run on another machine no longer counts as running."""

_STATES: Final[Mapping[str, StageState]] = {
    "reused": "reused", "running": "running", "waiting": "waiting", "failed": "failed", "skipped": "skipped",
    "queued": "queued",
}  # fmt: skip


def gather(store: Store, run_id: str, *, now: float | None = None) -> RunView:
    """Read one run. Never raises for missing or broken pieces: they end up in `problems`."""
    problems = Problems()
    record = store.run(run_id)
    board = read_board(record, problems)
    spec = _json(record, "spec.json", problems)
    plan = _json(record, "plan.json", problems)
    parts = _stage_parts(spec, plan, board)
    stages = tuple(
        _stage(store, board.stages.get(name) or StageLine(name), record, as_object(part), parts.keys(), problems)
        for name, part in parts.items()
    )
    models = {o.digest[:12]: stage.name for stage in stages for o in stage.outputs if o.kind == "model"}
    stages = tuple(_finished(stage, models) for stage in stages)
    versions = as_object(board.start.get("versions"))
    return RunView(
        run=run_id,
        name=as_text(board.start.get("spec")) or as_text(spec.get("name")) or run_id,
        status=run_status(board, time.time() if now is None else now),
        started=board.started,
        seconds=run_seconds(board),
        file=as_text(board.start.get("file")) or as_text(spec.get("file")),
        store=as_text(board.start.get("store")) or str(store.url),
        executor=as_text(board.start.get("executor")),
        host=as_text(board.start.get("host")),
        command=board.command,
        versions={name: as_text(v) for name, v in versions.items() if v is not None},
        stages=stages,
        spec=_spec_text(spec),
        problems=tuple(dict.fromkeys(problems.lines)),
    )


def _finished(stage: StageView, models: Mapping[str, str]) -> StageView:
    """`stage` with models called as their stages are, and observed values of one step beside them.

    Such a value is drawn as a curve only where a training has logged it.
    """
    tables = tuple(with_observed(name_models(table, models), stage.curves) for table in stage.tables)
    drawn = [curve for curve in stage.curves if stage.training or len(curve.points) > 1]
    return replace(stage, tables=tables, curves=tuple(drawn[:MAX_CURVES]))


def read_board(record: RunRecord, problems: Problems) -> Board:
    """The run's events, folded; a line that is no event is skipped."""
    board = Board()
    for row in problems.guard("events", list[JsonObject](), record.read_events):
        event = problems.guard("an event", None, Event.from_json, row)
        if event is not None:
            board.apply(event)
    return board


def run_status(board: Board, now: float) -> RunStatus:
    """What became of the run. Without ``run.finished`` it is running while its driver seems alive."""
    if board.started is None and not board.stages:
        return "empty"
    if board.finish is not None:
        stated = as_text(board.finish.get("status"))
        return "ok" if stated == "ok" else "failed" if stated == "failed" else "interrupted"
    pid = as_number(board.start.get("pid"))
    if pid is not None and as_text(board.start.get("host")) == socket.gethostname():
        return "running" if _alive(int(pid)) else "interrupted"
    return "running" if board.last is not None and now - board.last < SILENCE else "interrupted"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def run_seconds(board: Board) -> float | None:
    """What the run took, or has taken so far by its last event."""
    stated = as_number((board.finish or {}).get("seconds"))
    if stated is not None or board.started is None or board.last is None:
        return stated
    return board.last - board.started


def _json(record: RunRecord, name: str, problems: Problems) -> JsonObject:
    found: Json = problems.guard(name, None, record.get_json, name)
    return as_object(found)


def _stage_parts(spec: JsonObject, plan: JsonObject, board: Board) -> dict[str, Json]:
    """Stages by name with their part of the spec: planned ones first, in the plan's order."""
    written = as_object(spec.get("stages"))
    planned = plan.get("stages")
    if isinstance(planned, list):
        names = [as_text(as_object(item).get("stage")) for item in planned]
    else:
        names = list(as_object(planned))
    order = dict.fromkeys([*filter(None, names), *board.stages] or list(written))
    return {name: written.get(name) for name in order}


def _stage(
    store: Store, line: StageLine, record: RunRecord, spec: JsonObject, names: Collection[str], problems: Problems
) -> StageView:
    key, seen, commit = evidence(store, record, line, problems)
    told = as_object(pointer_of(record, line, problems).get("outputs"))
    outputs, tables, samples = _outputs(store, line.outputs or {k: as_text(v) for k, v in told.items()}, problems)
    comparisons, strips = pictures(seen, problems)
    return StageView(
        name=line.name,
        uses=line.uses or as_text(spec.get("uses")),
        state=_state(line),
        inputs=upstreams(spec, names),
        reasons=tuple(line.reasons),
        because=line.because or line.holder or _origin(commit),
        key=key,
        attempt=line.attempt,
        seconds=line.elapsed(line.last or 0.0),
        partitions=(int(line.found), int(line.total)) if line.partitioned else None,
        done=line.done,
        total=line.total,
        unit=line.unit,
        outputs=outputs,
        curves=curves(seen, problems),
        comparisons=tuple(c for c in comparisons if c.step is None),
        previews=by_step([c for c in comparisons if c.step is not None]),
        strips=strips,
        tables=tables,
        samples=samples,
        training=any(stretch.training for stretch in seen),
        log=log_tail(seen, problems),
        retries=tuple(line.retries),
        warnings=tuple(line.warnings),
        failures=tuple(line.failures),
        notes=as_text(spec.get("notes")),
    )


def _state(line: StageLine) -> StageState:
    if line.phase == "done":
        return "reused" if line.how == "adopted" else "resumed" if line.how == "resumed" else "built"
    return _STATES[line.phase]


def _origin(commit: Commit | None) -> str:
    """Where a reused result comes from: ``built in 28 s by run 2026…``."""
    if commit is None:
        return ""
    seconds = as_number(commit.meta.get("seconds"))
    took = f" in {duration(seconds)}" if seconds is not None else ""
    return f"built{took} by run {as_text(commit.meta.get('run')) or 'unknown'}"


def _outputs(
    store: Store, digests: Mapping[str, str], problems: Problems
) -> tuple[tuple[OutputView, ...], tuple[MetricTable, ...], tuple[SampleSheet, ...]]:
    views: list[OutputView] = []
    tables: list[MetricTable] = []
    samples: list[SampleSheet] = []
    for slot, digest in digests.items():
        view, manifest = output_view(store, slot, digest, problems)
        views.append(view)
        if manifest is not None and manifest.kind == "metrics":
            tables += metrics_of(store, manifest, problems)
        elif manifest is not None and manifest.kind == "samples":
            sheet = samples_of(store, manifest, problems)
            samples += [sheet] if sheet is not None else []
    return tuple(views), tuple(tables), tuple(samples)


def upstreams(spec: JsonObject, names: Collection[str]) -> tuple[str, ...]:
    """The stages of `names` that a stage's part of ``spec.json`` takes as inputs."""
    found: list[str] = []
    for value in as_object(spec.get("inputs")).values():
        for item in value if isinstance(value, list) else [value]:
            name = as_text(item.get("stage")) if isinstance(item, dict) else as_text(item)
            found.append(name if name in names else name.rpartition(".")[0])
    return tuple(dict.fromkeys(name for name in found if name in names))


def _spec_text(spec: JsonObject) -> str:
    if not spec:
        return ""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    shown = {name: value for name, value in spec.items() if name != "schema"}
    return str(yaml.dump(shown, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100))
