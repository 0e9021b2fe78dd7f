"""The driver's loop: which stage may start, which unit runs where, what each outcome means.

Nothing durable lives here. Killed at any point, the next driver reads the store and goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipelines.assessment import Assessment
from pipelines.building import Building, Drive
from pipelines.canonical import JsonObject
from pipelines.errors import LeaseHeld, StoreError
from pipelines.executors.base import Executor
from pipelines.executors.context import hint_name
from pipelines.executors.stopping import GRACE
from pipelines.executors.task import Outcome
from pipelines.failure import Failure
from pipelines.flight import Flight, Means
from pipelines.history import History
from pipelines.ledger import needs_of
from pipelines.parting import part
from pipelines.plan import Planner, concerned, needs_unselected
from pipelines.preparing import Preparing
from pipelines.standing import SETTLED, StageState, Standings, Status
from pipelines.store.heartbeat import Liveness
from pipelines.store.keylog import Claim, Holder

__all__ = ["SETTLED", "Options", "Scheduler", "Services", "StageState", "Status"]

log = logging.getLogger("sharpline.scheduler")

WAIT = 0.25  # seconds to wait for an outcome before looking at leases and live progress
LOOK = 1.0  # seconds between looks at leases, ours and others', and at live progress

STOPPED = "the run stopped after a failure; what was finished is kept"


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves where people may choose. An interrupt waits `grace` seconds for trainings to save."""

    keep_going: bool = False
    wait_for_leases: bool = True
    selected: frozenset[str] | None = None
    partitions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    grace: float = GRACE


@dataclass(frozen=True, slots=True)
class Services:
    """What a scheduler starts only when it must: `alive` before the first claim, `executor` before the first unit."""

    executor: Callable[[], Executor]
    alive: Callable[[], object]


class Scheduler:
    """Builds the selected stages of a planner's spec. Each of `services` is called at most once."""

    def __init__(self, drive: Drive, planner: Planner, services: Services, holder: Holder, options: Options) -> None:
        self._drive, self._planner, self._options = drive, planner, options
        self._services, self._holder = services, holder
        self._alive = False
        self._flight = Flight(services.executor, self._refuse_hopeless)
        self._preparing = Preparing(drive.store, planner)
        self._history = History(drive.store, planner.spec.name)
        self._liveness = Liveness(drive.store)
        self._buildings: dict[str, Building] = {}
        self._looked = 0.0
        self._progress: dict[str, JsonObject] = {}
        self._stopping = False
        self._order = concerned(planner.graph, options.selected)
        self._standings = Standings(drive, self._history, self._order)

    @property
    def stages(self) -> Mapping[str, StageState]:
        """Where each stage stands, by name."""
        return self._standings.stages

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many stages stand where."""
        return self._standings.counts

    def run(self) -> None:
        """Go on until every stage is settled. Raises LeaseHeld when waiting was refused; cleans up on the way out.

        A KeyboardInterrupt lets trainings save first; another one while they do ends them.
        """
        try:
            while not self._settle():
                self._admit()
                self._collect()
                self._look_around()
        except KeyboardInterrupt:
            part(self._flight, self._buildings, self._options.grace, self._standings, self._ended, self._drop)
            raise
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
        self._finish_preparing()
        return self._standings.settled

    def _advance(self, name: str) -> bool:
        upstream = {u: self.stages[u] for u in self._planner.graph.upstream(name)}
        if not all(state.settled for state in upstream.values()):
            return False
        missing = [u for u, state in upstream.items() if state.outputs is None]
        unchosen = [u for u in missing if not self._selected(u)]
        if unchosen and self._selected(name):
            self._fail(name, Failure("user", "NotSelected", needs_unselected(name, unchosen)))
            return True
        if missing:
            self._standings.skip(name, f"needs {', '.join(missing)}, which did not finish")
            return True
        if self._stopping:
            self._standings.skip(name, STOPPED)
            return True
        return self._decide(name, self._assess(name))

    def _selected(self, name: str) -> bool:
        return self._options.selected is None or name in self._options.selected

    def _decide(self, name: str, assessment: Assessment) -> bool:
        if assessment.state == "cached":
            self._standings.reuse(name, assessment)
            return True
        if not self._selected(name):
            self._standings.skip(name, "not selected, and not built yet")
            return True
        if assessment.state in ("lost", "blocked"):
            text = "; ".join(reason.text for reason in assessment.reasons)
            self._fail(name, assessment.failure or Failure("user", assessment.state.capitalize(), text))
            return True
        return self._try_claim(name)

    def _fail(self, name: str, failure: Failure) -> None:
        self._standings.fail(name, failure)
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
        self._planner.ask_to_rebuild(name, assessment)
        claim = log.try_claim(self._holder)
        if claim is None:
            seen = log.state()
            if seen.done:
                return self._take_result(name)
            if seen.holder is not None and self._liveness.dead(seen.holder):
                claim = log.take_over(seen, self._holder)
            if claim is None:
                return self._hold(name, key, seen.holder)
        return self._build(name, claim, assessment)

    def _show_life(self) -> None:
        """Start the heartbeat before the first claim: others judge a claim by it."""
        if not self._alive:
            self._services.alive()
            self._alive = True

    def _take_result(self, name: str) -> bool:
        """Somebody else has committed meanwhile."""
        assessment = self._assess(name)
        if assessment.state == "cached":
            self._standings.reuse(name, assessment)
            return True
        self.stages[name].status = "waiting"
        return False

    def _build(self, name: str, claim: Claim, assessment: Assessment) -> bool:
        """Start to build under `claim`.

        Where others have written to the log since `assessment`, it is made anew: the result may be there. And
        sources may have changed while we waited: then this claim is for a key that nobody wants any more.
        """
        if assessment.log is None or claim.attempt != assessment.log.next_n:
            assessment = self._assess(name)
        wanted = assessment.identity is not None and assessment.identity.key == claim.key
        if not wanted or assessment.state in ("cached", "lost", "blocked"):
            claim.release()
            self.stages[name].status = "waiting"
            return True
        stage = self._planner.spec.stages[name]
        only = self._options.partitions.get(name)
        self._buildings[name] = Building(self._drive, stage, assessment, claim, only)
        self.stages[name].status = "preparing"
        self._preparing.start(stage, assessment)
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
            self._standings.emit("stage.waiting", name, key=key, holder=who)
            return True
        return False

    # -- preparation

    def _finish_preparing(self) -> None:
        for name, prepared in self._preparing.ended():
            building = self._buildings[name]
            error = prepared.exception()
            if error is None:
                executor, ledger = self._flight.means  # no executor, no run: what this raises ends it
                if name not in self._buildings:  # another stage was refused
                    continue
                try:
                    ledger.refuse_infeasible(name, building.needs, executor.name)
                    building.begin(*prepared.result())
                except Exception as refused:
                    error = refused
            if error is not None:
                self._drop(name)
                self._fail(name, Failure.from_exception(error))
                continue
            self.stages[name].status = "building"
            self._conclude(name, building)

    def _refuse_hopeless(self, means: Means) -> None:
        """Fail, before the first unit starts, the stages that could never run here: not after hours of other work.

        One that was built before may yet be found in the store, so it is refused when its turn has come.
        """
        executor, ledger = means
        for name in self._order:
            if self.stages[name].status != "waiting" or not self._selected(name) or self._history.candidates(name):
                continue
            short = ledger.shortage(name, needs_of(self._planner.spec.stages[name].resources), executor.name)
            if short is not None:
                self._fail(name, Failure("user", "StageError", f"{short[0]}; {short[1]}"))

    # -- units

    def _admit(self) -> None:
        """Start units in graph order as long as resources last."""
        for name in self._order:
            building = self._buildings.get(name)
            if building is None or self.stages[name].status != "building":
                continue
            while (unit := building.next_unit()) is not None and self._flight.start(building, unit):
                pass

    def _collect(self) -> None:
        if not self._flight:
            if not self._standings.settled:
                time.sleep(0.02 if self._preparing else WAIT)
            return
        for ticket, outcome in self._flight.wait(WAIT):
            self._ended(ticket, outcome)

    def _ended(self, ticket: int, outcome: Outcome) -> None:
        building = self._flight.land(ticket)
        if building is None:
            return
        try:
            building.ended(ticket, outcome)
        except Exception as error:  # of `outputs`, of the store: it is this stage that cannot be committed
            building.fail(Failure.from_exception(error))
        self._conclude(building.stage.name, building)

    def _conclude(self, name: str, building: Building) -> None:
        """Settle a stage whose building has come to an end."""
        state = self.stages[name]
        if building.result is not None:
            building.close(release=False)
            self._standings.built(name, building.identity.key, building.result)
        elif building.superseded:
            building.close(release=False)
            state.status = "waiting"
        elif building.partial:
            building.close(release=True)
            done, total = building.built_of_all
            self._standings.skip(name, f"{done} of {total} partitions are built; the others were not asked for")
        elif building.failure is not None and building.idle:
            building.close(release=True)
            state.status = "failed"
        elif self._stopping and building.idle:
            self._drop(name)
            self._standings.skip(name, STOPPED)
        if state.status not in ("building", "preparing"):
            self._buildings.pop(name, None)
        if building.failure is not None:
            self._stop_after_failure()

    def _drop(self, name: str) -> None:
        """Give up a building that has nothing running."""
        self._preparing.drop(name)
        self._buildings.pop(name).close(release=True)

    def _stop_after_failure(self) -> None:
        """Without --keep-going a failure starts nothing new; what runs may end, and is kept."""
        if self._options.keep_going or self._stopping:
            return
        self._stopping = True
        for name in self._standings.having("held"):
            self._standings.skip(name, STOPPED)
        for name, building in list(self._buildings.items()):
            building.stop()
            if building.idle and building.failure is None:
                self._drop(name)
                self._standings.skip(name, STOPPED)

    # -- leases and live progress

    def _look_around(self) -> None:
        """Now and then: whether claims are still ours, whether others let go of theirs, how far units are."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for name in self._order:
            if self.stages[name].status == "held":
                self._try_claim(name)
        for name, building in list(self._buildings.items()):
            try:
                self._show_progress(name, building)
                held = building.claim.still_held()
            except StoreError as error:
                # an outage: whether the claim was lost shows later, at the latest at the commit
                log.warning("%s: could not look after its claim: %s", name, error)
                continue
            if not held:
                self._lost_claim(name, building)

    def _lost_claim(self, name: str, building: Building) -> None:
        """Somebody took over while we were asleep: stop our units and wait for their result."""
        for ticket in building.tickets:
            self._flight.cancel(ticket)
        building.superseded = True
        self._drop(name)
        self.stages[name].status = "waiting"

    def _show_progress(self, name: str, building: Building) -> None:
        if not building.single_unit:
            return
        attempt = self._drive.store.attempt(building.identity.key, building.claim.attempt)
        hint = attempt.hint(hint_name(None))
        if hint is not None and hint != self._progress.get(name):
            self._progress[name] = hint
            told = {k: hint.get(k) for k in ("done", "total", "unit")}
            self._standings.emit("stage.progress", name, partition=None, **told)

    # -- end

    def _close(self) -> None:
        self._preparing.drop_all()
        try:
            self._flight.cancel_all()
            for name in self._order:
                self._let_go(name)
        finally:
            self._flight.close()

    def _let_go(self, name: str) -> None:
        """Give back the claim of an unsettled stage, also one that an interrupt overtook before it was built upon."""
        building, assessment = self._buildings.get(name), self.stages[name].assessment
        try:
            if building is not None:
                building.close(release=True)
            elif self._alive and not self.stages[name].settled and assessment and assessment.identity:
                self._drive.store.key_log(assessment.identity.key).release_of(self._holder)
        except StoreError as error:  # others will see it from our heartbeat, which ends
            log.warning("%s: its claim could not be given back: %s", name, error)
