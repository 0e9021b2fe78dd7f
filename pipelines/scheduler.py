"""The driver's loop: which stage may start, which unit runs where, what each outcome means.

Nothing durable lives here. Killed at any point, the next driver reads the store and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pipelines.building import Building, Drive, Unit, refuse_unfit_inputs
from pipelines.canonical import Json, JsonObject
from pipelines.errors import LeaseHeld, SharplineError
from pipelines.events import Event
from pipelines.executors.base import Executor
from pipelines.executors.context import hint_name
from pipelines.executors.task import Failure, Outcome
from pipelines.graph import Graph
from pipelines.history import History
from pipelines.ledger import Ledger, needs_of
from pipelines.plan import Assessment, Outputs, Planner, Work
from pipelines.sources import hash_sources
from pipelines.spec.model import StageSpec
from pipelines.stage import SourceFile
from pipelines.store.heartbeat import Liveness
from pipelines.store.keylog import Claim, Holder

Status: TypeAlias = Literal["waiting", "held", "preparing", "building", "built", "reused", "failed", "skipped"]
SETTLED: frozenset[Status] = frozenset({"built", "reused", "failed", "skipped"})

WAIT = 0.25  # seconds to wait for an outcome before looking at leases and live progress
LEASE_CHECK = 5.0  # seconds between checks that our claims are still ours


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves where people may choose."""

    keep_going: bool = False
    wait_for_leases: bool = True
    selected: frozenset[str] | None = None
    partitions: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Services:
    """What a scheduler starts only when it must: `alive` before the first claim, `executor` before the first unit."""

    executor: Callable[[], Executor]
    alive: Callable[[], object]


@dataclass(slots=True)
class StageState:
    """Where one stage of this run stands."""

    status: Status = "waiting"
    outputs: Outputs | None = None
    assessment: Assessment | None = None
    because: str = ""


class Scheduler:
    """Builds the selected stages of a planner's spec. Each of `services` is called at most once."""

    def __init__(self, drive: Drive, planner: Planner, services: Services, holder: Holder, options: Options) -> None:
        self._drive, self._planner, self._options = drive, planner, options
        self._services, self._holder = services, holder
        self._alive = False
        self._executor: Executor | None = None
        self._ledger: Ledger | None = None
        self._history = History(drive.store, planner.spec.name)
        self._liveness = Liveness(drive.store)
        self._buildings: dict[str, Building] = {}
        self._preparing: dict[str, Future[tuple[Mapping[str, tuple[SourceFile, ...]], Work | None]]] = {}
        self._units: dict[int, tuple[Building, Unit]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._checked = 0.0
        self._stopping = False
        self._order = _concerned(planner.graph, options.selected)
        self.stages: dict[str, StageState] = {name: StageState() for name in self._order}

    def run(self) -> None:
        """Go on until every stage is settled. Raises LeaseHeld when waiting was refused; cleans up on the way out."""
        try:
            while not self._settle():
                self._admit()
                self._collect()
                self._look_after_leases()
        finally:
            self._close()

    # -- stages become ready

    def _settle(self) -> bool:
        """Assess whatever can be assessed; True when nothing is left to do."""
        progress = True
        while progress:
            progress = False
            for name in self._order:
                if self.stages[name].status == "waiting" and self._advance(name):
                    progress = True
        for name in [n for n, s in self.stages.items() if s.status == "held"]:
            self._try_claim(name)
        self._finish_preparing()
        return all(state.status in SETTLED for state in self.stages.values())

    def _advance(self, name: str) -> bool:
        upstream = {u: self.stages[u] for u in self._planner.graph.upstream(name)}
        if any(state.status not in SETTLED for state in upstream.values()):
            return False
        missing = [u for u, state in upstream.items() if state.outputs is None]
        if missing:
            self._skip(name, f"needs {', '.join(missing)}, which did not finish")
            return True
        if self._stopping:
            self._skip(name, "the run stopped after a failure")
            return True
        return self._decide(name, self._assess(name))

    def _decide(self, name: str, assessment: Assessment) -> bool:
        if assessment.state == "cached":
            self._reuse(name, assessment)
            return True
        if self._options.selected is not None and name not in self._options.selected:
            self._skip(name, "not selected, and not built yet")
            return True
        if assessment.state in ("lost", "blocked"):
            text = "; ".join(reason.text for reason in assessment.reasons)
            self._fail(name, Failure("user", assessment.state.capitalize(), text))
            return True
        return self._try_claim(name)

    def _reuse(self, name: str, assessment: Assessment) -> None:
        assert assessment.identity is not None
        assert assessment.outputs is not None
        state = self.stages[name]
        state.status, state.outputs, state.assessment = "reused", assessment.outputs, assessment
        self._history.record(name, assessment.identity.key)
        self._emit("stage.reused", name, key=assessment.identity.key, outputs=dict(assessment.outputs))

    def _skip(self, name: str, because: str) -> None:
        state = self.stages[name]
        state.status, state.because = "skipped", because
        self._emit("stage.skipped", name, because=because)

    def _fail(self, name: str, failure: Failure) -> None:
        self.stages[name].status = "failed"
        self._emit("stage.failed", name, partition=None, error=failure.to_json(), log="")
        self._stop_after_failure()

    # -- claims

    def _try_claim(self, name: str) -> bool:
        """Claim the stage's key, or wait for its holder, or take the holder's result. True when something changed."""
        assessment = self.stages[name].assessment
        assert assessment is not None
        assert assessment.identity is not None
        key = assessment.identity.key
        self._show_life()
        log = self._drive.store.key_log(key)
        why = self._planner.rebuild_due(name, assessment)
        if why is not None:
            log.append_rebuild(why)
            self._planner.rebuild_recorded(name)
        claim = log.try_claim(self._holder)
        if claim is None:
            seen = log.state()
            if seen.done:
                return self._take_result(name)
            if seen.holder is not None and self._liveness.dead(seen.holder):
                claim = log.take_over(seen, self._holder)
            if claim is None:
                return self._hold(name, key, seen.holder)
        return self._build(name, claim)

    def _show_life(self) -> None:
        """Start the heartbeat before the first claim: others judge a claim by it."""
        if not self._alive:
            self._services.alive()
            self._alive = True

    def _take_result(self, name: str) -> bool:
        """Somebody else has committed meanwhile."""
        assessment = self._assess(name)
        if assessment.state == "cached":
            self._reuse(name, assessment)
            return True
        self.stages[name].status = "waiting"
        return False

    def _build(self, name: str, claim: Claim) -> bool:
        """Start to build under `claim`, unless a look under the claim finds the result already there."""
        assessment = self._assess(name)
        if assessment.state == "cached":
            claim.release()
            self._reuse(name, assessment)
            return True
        stage = self._planner.spec.stages[name]
        only = self._options.partitions.get(name)
        self._buildings[name] = Building(self._drive, stage, assessment, claim, only)
        self._prepare(name, stage, assessment)
        return True

    def _assess(self, name: str) -> Assessment:
        upstream = {u: self.stages[u].outputs for u in self._planner.graph.upstream(name)}
        known = {u: outputs for u, outputs in upstream.items() if outputs is not None}
        assessment = self._planner.assess(name, known)
        self.stages[name].assessment = assessment
        return assessment

    def _hold(self, name: str, key: str, holder: Holder | None) -> bool:
        who = str(holder) if holder else "another run"
        if not self._options.wait_for_leases:
            raise LeaseHeld(f"{name}: {who} builds the same key {key[:15]}…; wait for it, or run without --no-wait")
        if self.stages[name].status != "held":
            self.stages[name].status = "held"
            self._emit("stage.waiting", name, key=key, holder=who)
            return True
        return False

    # -- preparation: hashing sources and making partitions may take long, so the loop goes on meanwhile

    def _prepare(self, name: str, stage: StageSpec, assessment: Assessment) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(4, thread_name_prefix="prepare")
        self.stages[name].status = "preparing"
        if assessment.identity is not None and assessment.identity.listings:
            self._preparing[name] = self._threads.submit(self._units_of, stage, assessment)
            return
        done: Future[tuple[Mapping[str, tuple[SourceFile, ...]], Work | None]] = Future()
        try:
            done.set_result(self._units_of(stage, assessment))
        except Exception as error:
            done.set_exception(error)
        self._preparing[name] = done
        self._finish_preparing()

    def _units_of(
        self, stage: StageSpec, assessment: Assessment
    ) -> tuple[Mapping[str, tuple[SourceFile, ...]], Work | None]:
        assert assessment.identity is not None
        refuse_unfit_inputs(self._drive.store, stage, assessment.identity)
        earlier = self._planner.earlier_signatures(stage.name)
        sources = hash_sources(self._drive.store, stage.stage, stage.config, assessment.identity.listings, earlier)
        if not stage.stage.is_partitioned():
            return sources, None
        work = assessment.work or self._planner.work(stage, assessment.identity, sources, assessment)
        return sources, work

    def _finish_preparing(self) -> None:
        for name in [n for n, future in self._preparing.items() if future.done()]:
            future = self._preparing.pop(name)
            building = self._buildings[name]
            try:
                sources, work = future.result()
                self._executor_for(building)
                building.begin(sources, work)
            except Exception as error:
                self._abandon(name, building, error)
                continue
            self.stages[name].status = "building"
            self._conclude(name, building)

    def _abandon(self, name: str, building: Building, error: Exception) -> None:
        building.close(release=True)
        del self._buildings[name]
        if isinstance(error, SharplineError):
            self._fail(name, Failure("user", type(error).__name__, str(error)))
        else:
            self._fail(name, Failure.from_exception(error))

    def _executor_for(self, building: Building) -> None:
        if self._executor is None or self._ledger is None:
            self._executor = self._services.executor()
            self._ledger = Ledger(self._executor.capacity())
        needs = needs_of(building.stage.resources)
        self._ledger.refuse_infeasible(building.stage.name, needs, self._executor.name)

    # -- units

    def _admit(self) -> None:
        """Start units in graph order as long as resources last."""
        for name in self._order:
            building = self._buildings.get(name)
            if building is None or self.stages[name].status != "building":
                continue
            while (unit := building.next_unit()) is not None and self._start(building, unit):
                pass

    def _start(self, building: Building, unit: Unit) -> bool:
        assert self._ledger is not None
        assert self._executor is not None
        if not self._ledger.take(unit.needs):
            return False
        ticket = self._executor.submit(unit.task, unit.needs)
        building.started(unit, ticket)
        self._units[ticket] = (building, unit)
        return True

    def _collect(self) -> None:
        if self._executor is None or not self._units:
            if not all(state.status in SETTLED for state in self.stages.values()):
                time.sleep(0.02 if self._preparing else WAIT)
            return
        for ticket, outcome in self._executor.wait(WAIT):
            self._ended(ticket, outcome)

    def _ended(self, ticket: int, outcome: Outcome) -> None:
        found = self._units.pop(ticket, None)
        if found is None:
            return
        building, unit = found
        assert self._ledger is not None
        self._ledger.give(unit.needs)
        building.ended(ticket, outcome)
        self._conclude(building.stage.name, building)

    def _conclude(self, name: str, building: Building) -> None:
        """Settle a stage whose building has come to an end."""
        state = self.stages[name]
        if building.result is not None:
            building.close(release=False)
            state.status, state.outputs = "built", building.result
            self._history.record(name, building.identity.key)
        elif building.superseded:
            building.close(release=False)
            state.status = "waiting"
        elif building.partial:
            building.close(release=True)
            self._skip(name, "only some partitions were asked for; the others are not built yet")
        elif building.failure is not None and building.idle:
            building.close(release=True)
            state.status = "failed"
        else:
            if building.failure is not None:
                self._stop_after_failure()
            return
        del self._buildings[name]
        if state.status == "failed":
            self._stop_after_failure()

    def _stop_after_failure(self) -> None:
        """Without --keep-going a failure starts nothing new; what runs may end, and is kept."""
        if self._options.keep_going or self._stopping:
            return
        self._stopping = True
        for name, building in list(self._buildings.items()):
            building.drop_waiting()
            if building.idle and self.stages[name].status == "building" and building.failure is None:
                building.close(release=True)
                del self._buildings[name]
                self._skip(name, "the run stopped after a failure; what was finished is kept")

    # -- leases and live progress

    def _look_after_leases(self) -> None:
        now = time.monotonic()
        if now - self._checked < LEASE_CHECK / 5:
            return
        self._checked = now
        for name, building in list(self._buildings.items()):
            self._show_progress(name, building)
            if not building.claim.still_held():
                self._lost_claim(name, building)
            elif self._stopping and building.idle and building.failure is None:
                building.close(release=True)
                del self._buildings[name]
                self._skip(name, "the run stopped after a failure; what was finished is kept")

    def _lost_claim(self, name: str, building: Building) -> None:
        """Somebody took over while we were asleep: stop our units and wait for their result."""
        assert self._executor is not None
        for ticket in building.tickets:
            self._executor.cancel(ticket)
            _, unit = self._units.pop(ticket)
            assert self._ledger is not None
            self._ledger.give(unit.needs)
        building.superseded = True
        building.close(release=False)
        del self._buildings[name]
        self.stages[name].status = "waiting"

    def _show_progress(self, name: str, building: Building) -> None:
        if not building.single_unit:
            return
        attempt = self._drive.store.attempt(building.identity.key, building.claim.attempt)
        hint = attempt.hint(hint_name(None))
        if hint is not None:
            self._emit("stage.progress", name, partition=None, **{k: hint.get(k) for k in ("done", "total", "unit")})

    # -- end

    def _emit(self, kind: str, stage: str, **data: Json) -> None:
        payload: JsonObject = dict(data)
        self._drive.emit(Event(kind, stage, payload))

    def _close(self) -> None:
        for future in self._preparing.values():
            future.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._executor is not None:
            for ticket in list(self._units):
                self._executor.cancel(ticket)
        for building in self._buildings.values():
            building.close(release=True)
        if self._executor is not None:
            self._executor.close()

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many stages stand where."""
        totals: dict[Status, int] = {}
        for state in self.stages.values():
            totals[state.status] = totals.get(state.status, 0) + 1
        return totals


def _concerned(graph: Graph, selected: frozenset[str] | None) -> tuple[str, ...]:
    """The stages that a selection is about, in order: those selected, and those whose results they need."""
    if selected is None:
        return graph.order
    needed = selected.union(*(graph.ancestors(name) for name in selected))
    return tuple(name for name in graph.order if name in needed)
