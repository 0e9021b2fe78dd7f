"""One stage on its way from a claim to a commit: its units, their retries, and the fenced end."""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipelines.artifact import Entry, Facets, Manifest
from pipelines.assessment import Assessment, Identity, Outputs, Work, lineage_of
from pipelines.canonical import Json, JsonObject
from pipelines.errors import StoreError, UsageError
from pipelines.events import Event
from pipelines.executors.task import Needs, Outcome, Task, UnitKind
from pipelines.executors.warned import Tally
from pipelines.failure import Failure
from pipelines.fitness import input_facets
from pipelines.healing import drifted, first_difference, lost_bytes, readable_manifests
from pipelines.ledger import needs_of
from pipelines.spec.model import StageSpec
from pipelines.stage import Output, SourceFile
from pipelines.store.keylog import Claim, Commit, compare_outputs
from pipelines.store.parts import PartRow, PartRows
from pipelines.store.partwriter import PartWriter
from pipelines.store.store import Store
from pipelines.units import unit_task
from pipelines.wording import some

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before a lost unit is tried again


@dataclass(slots=True)
class Unit:
    """One piece of a stage's work, waiting or running. `index` counts partitions; -1 for `run` and `finish`."""

    kind: UnitKind
    needs: Needs
    index: int = -1
    not_before: float = 0.0
    tried: int = 0


@dataclass(slots=True)
class Drive:
    """What a driver lends to all its stages: identity of the run, where to write, whom to tell."""

    store: Store
    run: str
    code: tuple[str, ...]
    emit: Callable[[Event], None]
    keep_going: bool = False
    clock: Callable[[], float] = time.monotonic
    jitter: random.Random = field(default_factory=random.Random)


class Building:
    """A claimed stage. The scheduler asks for units, reports their outcomes, and looks at `result` or `failure`."""

    def __init__(
        self, drive: Drive, stage: StageSpec, assessment: Assessment, claim: Claim, only: frozenset[str] | None = None
    ) -> None:
        assert assessment.identity is not None
        self.drive, self.stage, self.claim = drive, stage, claim
        self.identity: Identity = assessment.identity
        self.needs = needs_of(stage.resources)
        self.result: Outputs | None = None
        self.failure: Failure | None = None
        self.partial = False
        self.superseded = False
        self._assessment = assessment
        self._only = only
        self._waiting: deque[Unit] = deque()
        self._running: dict[int, Unit] = {}
        self._work: Work | None = None
        self._done = 0
        self._stopped = False
        self._sources: Mapping[str, Sequence[SourceFile]] = {}
        self._failed: dict[str, Failure] = {}
        self._table: PartWriter | None = None
        self._warned = Tally(stage.name, drive.emit)
        self._started = time.monotonic()
        self._resumed = assessment.state == "resume"
        self._healed = assessment.log.committed if assessment.log is not None and assessment.log.healing else None
        self._earlier: Commit | None = None
        self._stands: Commit | None = None
        self._before = PartRows()
        lineage = lineage_of(self.identity, assessment.log.line if assessment.log else None)
        self._template = unit_task(drive.store, stage, self.identity, drive.code, self.needs, claim.attempt, lineage)

    # -- units

    def begin(self, sources: Mapping[str, Sequence[SourceFile]], work: Work | None) -> None:
        """Queue the units. `work` is given for partitioned stages."""
        self._started, self._sources = time.monotonic(), sources
        how = "resume" if self._resumed else "run"
        counts: JsonObject | None = None
        if work is None:
            self._waiting.append(self._unit("run"))
        else:
            self._refuse_unknown(work)
            self._work, self._done = work, len(work.keys) - len(work.missing)
            counts = {"total": len(work.keys), "done": self._done}
            parts = self.drive.store.parts(self.identity.family)
            self._table = parts.writer()
            self._earlier = self._to_equal()
            if self._earlier is not None:
                self._before = parts.load()
            missing = [i for i in work.missing if self._only is None or work.partitions[i].id in self._only]
            self._waiting.extend(self._unit("partition", i) for i in missing)
            self._pass_on_if_complete()
        self._emit("stage.started", key=self.identity.key, attempt=self.claim.attempt, how=how, partitions=counts)

    def next_unit(self) -> Unit | None:
        """The next unit that may start now, left in the queue until `started`."""
        limit = self.stage.resources.workers
        if limit is not None and len(self._running) >= limit:
            return None
        now = self.drive.clock()
        return next((unit for unit in self._waiting if unit.not_before <= now), None)

    def started(self, unit: Unit, ticket: int) -> None:
        self._waiting.remove(unit)
        self._running[ticket] = unit

    @property
    def tickets(self) -> tuple[int, ...]:
        return tuple(self._running)

    @property
    def single_unit(self) -> bool:
        """Whether live progress comes from one unit (and not from counting partitions)."""
        return any(unit.kind == "run" for unit in self._running.values())

    @property
    def idle(self) -> bool:
        return not self._running and not self._waiting

    def stop(self) -> None:
        """Start nothing more, also no retry; what runs may end and is kept."""
        self._stopped = True
        self._waiting.clear()

    def fail(self, failure: Failure) -> None:
        """The stage as a whole cannot go on."""
        self._told(None, failure)
        self._give_up(failure)

    def ended(self, ticket: int, outcome: Outcome) -> None:
        """Take the outcome of a unit; afterwards look at `result`, `failure`, `partial` or `superseded`."""
        self.heard(ticket, outcome)
        unit = self._running.pop(ticket)
        if outcome.failure is not None:
            self._unit_failed(unit, outcome.failure)
        elif unit.kind == "partition":
            self._partition_done(unit, outcome)
        else:
            self._commit(outcome)
        if self.failure is None and self.idle and self.result is None and self._failed:
            self._give_up(next(iter(self._failed.values())))

    def heard(self, ticket: int, outcome: Outcome) -> None:
        """Tell what a unit that has ended warned of."""
        self._warned.add(self._partition_of(self._running[ticket]), outcome.warnings)

    def close(self, *, release: bool) -> None:
        """Flush finished partitions and, unless committed, give the claim back.

        Where a rebuild came out different, the earlier result stands by another commit of it, which answers the
        rebuild: otherwise every later run would build the stage again and fail again.
        """
        if self._table is not None:
            self._table.close()
        if release and self.result is None and not self.superseded:
            if self._stands is not None:
                earlier = self._stands
                self.claim.commit(earlier.outputs, earlier.payload, {**earlier.meta, "kept": earlier.attempt})
            self.claim.release()
        self._warned.close()

    # -- partitions

    @property
    def built_of_all(self) -> tuple[int, int]:
        """How many partitions are there, of how many."""
        return self._done, len(self._work.keys) if self._work is not None else 0

    def _refuse_unknown(self, work: Work) -> None:
        unknown = sorted((self._only or frozenset()) - {part.id for part in work.partitions})
        if unknown:
            ids = [part.id for part in work.partitions]
            raise UsageError(f"{self.stage.name} has no partition {unknown[0]!r}; it has {len(ids)}: {some(ids)}")

    def _partition_done(self, unit: Unit, outcome: Outcome) -> None:
        assert self._table is not None
        assert self._work is not None
        difference = self._unlike_before(self._work.keys[unit.index], outcome)
        if difference is not None:
            self._unit_failed(unit, self._not_reproducible(f"{difference}; {self._keep(self._earlier)}"))
            return
        made_by = f"{self.identity.key}/{self.claim.attempt}"
        entries = {slot: list(found) for slot, found in outcome.entries.items()}
        self._table.add(PartRow(self._work.keys[unit.index], entries, outcome.seconds, made_by, time.time()))
        self._done += 1
        self._emit(
            "partition.done",
            partition=self._work.partitions[unit.index].id,
            seconds=round(outcome.seconds, 4),
            done=self._done,
            total=len(self._work.keys),
        )
        self._pass_on_if_complete()

    def _unlike_before(self, key: str, outcome: Outcome) -> str | None:
        """How a partition that has to equal an earlier one differs from it; then it must not replace it."""
        if self._earlier is None or key not in self._before:
            return None
        manifests = readable_manifests(self.drive.store, self._earlier.outputs)
        committed = {slot: manifest.entries for slot, manifest in manifests.items()}
        return first_difference(outcome.entries, self._before[key].entries, committed)

    def _pass_on_if_complete(self) -> None:
        """When every partition is there, queue `finish`; when only some were asked for, stop here."""
        assert self._work is not None
        assert self._table is not None
        if self._waiting or self._running or self._stopped:
            return
        if self._done == len(self._work.keys):
            self._table.flush()
            self._warned.flush()
            self._waiting.append(self._unit("finish"))
        elif self._only is not None and not self._failed:
            self.partial = True

    def _unit_failed(self, unit: Unit, failure: Failure) -> None:
        partition = self._partition_of(unit)
        retries = self.stage.retries
        if failure.retryable and unit.tried < retries and not self._stopped:
            unit.tried += 1
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (unit.tried - 1)) * (0.5 + self.drive.jitter.random())
            unit.not_before = self.drive.clock() + delay
            self._waiting.append(unit)
            left = retries - unit.tried
            text = f"{failure.type}: {failure.message}"
            self._emit("stage.retry", partition=partition, error=text, left=left, delay=round(delay, 2))
            return
        self._failed[partition or ""] = failure
        self._told(partition, failure)
        if partition is None or not self.drive.keep_going:
            self._give_up(failure)

    def _told(self, partition: str | None, failure: Failure) -> None:
        self._emit("stage.failed", partition=partition, error=failure.to_json(), log=self.log_place())

    def _give_up(self, failure: Failure) -> None:
        """Start nothing more, and keep which partitions failed for ``--select stage[failed]``."""
        self.failure = failure
        self.stop()
        failed: list[Json] = [name for name in self._failed if name]
        if failed:
            attempt = self.drive.store.attempt(self.identity.key, self.claim.attempt)
            attempt.put_json("failed.json", {"schema": 1, "partitions": failed})

    # -- commit

    def _commit(self, outcome: Outcome) -> None:
        manifests = self._manifests(outcome)
        outputs = {slot: self.drive.store.trees.put(manifest) for slot, manifest in manifests.items()}
        stated = self._stated()
        one_code = len(outcome.codes) < 2
        reproducible = one_code and all(output.reproducible for output in stated.values())
        if self._refused(outputs, reproducible):
            return
        if self._assessment.log is not None and self._assessment.log.rebuild:
            for manifest in manifests.values():
                self.drive.store.trees.renew(manifest)
        meta: JsonObject = {
            "reproducible": reproducible,
            "run": self.drive.run,
            "seconds": round(time.monotonic() - self._started, 3),
            "code": {"digest": self.identity.code.digest, "files": dict(self.identity.code.files)},
        }
        if not one_code:
            meta["segments"] = list(outcome.codes)
        if self._table is not None:
            self._table.close()
        if not self.claim.commit(outputs, self.identity.payload, meta):
            self.superseded = True
            return
        self.result = outputs
        self._tidy()
        how = "resumed" if self._resumed or outcome.resumed_from else "built"
        self._emit(
            "stage.committed",
            key=self.identity.key,
            attempt=self.claim.attempt,
            how=how,
            outputs=dict(outputs),
            seconds=round(time.monotonic() - self._started, 3),
        )

    def _stated(self) -> Mapping[str, Output]:
        return self.stage.stage.outputs(self.stage.config, input_facets(self.drive.store, self.stage, self.identity))

    def _manifests(self, outcome: Outcome) -> dict[str, Manifest]:
        manifests = {}
        for slot, output in self._stated().items():
            facets: Facets = {**output.facets, **outcome.facets.get(slot, {})}
            entries: tuple[Entry, ...] = outcome.entries.get(slot, ())
            manifests[slot] = Manifest(output.kind, facets, entries, outcome.refs.get(slot, {}))
        return manifests

    def _tidy(self) -> None:
        """Fold the partition table: housekeeping, which must not turn a committed stage into a failed one."""
        if self._table is not None:
            with contextlib.suppress(StoreError):
                self.drive.store.parts(self.identity.family).compact()

    def _to_equal(self) -> Commit | None:
        """The earlier commit that this build must equal, byte for byte: one that is healed, or built again as it was.

        Advisory code that changed and was not accepted makes something else, which is what the rebuild is for.
        """
        log = self._assessment.log
        earlier = log.committed if log is not None else None
        if log is None or earlier is None or self._healed is not None:
            return earlier
        if not earlier.meta.get("reproducible", True):
            return None
        if drifted(self.stage.stage, self.identity.code, earlier, log.accepted) is not None:
            return None
        return earlier if all(output.reproducible for output in self._stated().values()) else None

    def _refused(self, outputs: Outputs, reproducible: bool) -> bool:
        """A reproducible stage that was built before must come out the same; if not, the earlier result stands."""
        earlier = self._to_equal()
        if earlier is None or not (reproducible or self._healed is not None):
            return False
        difference = compare_outputs(self.drive.store, earlier.outputs, outputs)
        if difference is None:
            return False
        self.fail(self._not_reproducible(f"{difference}; {self._keep(earlier)}"))
        return True

    def _keep(self, earlier: Commit | None) -> str:
        """Let the earlier result stand, in words. What has lost its bytes cannot; of a remote store a heal says so."""
        unseen = self._healed is not None and not self.drive.store.is_local
        if earlier is None or unseen or lost_bytes(self.drive.store, earlier.outputs):
            return "nothing was replaced, and the bytes of the earlier one are gone"
        self._stands = earlier
        return "nothing was replaced, the earlier result is kept"

    def _not_reproducible(self, difference: str) -> Failure:
        message = (
            f"{self.stage.name} is declared reproducible and came out different from an earlier build of the same key: "
            f"{difference}. Look for time, unordered sets or unseeded randomness in {self.stage.uses}, "
            "and raise its `version` when it is mended"
        )
        return Failure("user", "NotReproducible", message)

    # -- details

    def _partition_of(self, unit: Unit) -> str | None:
        return self._work.partitions[unit.index].id if self._work is not None and unit.index >= 0 else None

    def _unit(self, kind: UnitKind, index: int = -1) -> Unit:
        return Unit(kind, self.needs if kind != "finish" else replace(self.needs, gpus=0.0), index)

    def task(self, unit: Unit) -> Task:
        """What a worker is sent. Made when the unit starts: 100,000 waiting partitions hold none."""
        if unit.kind == "run" or self._work is None:
            return replace(self._template, sources=self._files())
        if unit.kind == "finish":
            pairs = tuple(zip(self._work.partitions, self._work.keys, strict=True))
            return replace(self._template, kind="finish", sources=self._files(), parts=pairs)
        partition, key = self._work.partitions[unit.index], self._work.keys[unit.index]
        return replace(self._template, kind="partition", partition=partition, partition_key=key)

    def _files(self) -> dict[str, tuple[SourceFile, ...]]:
        return {name: tuple(files) for name, files in self._sources.items()}

    def log_place(self) -> str:
        """Where the attempt's log lies, for people."""
        return self.drive.store.attempt(self.identity.key, self.claim.attempt).place("log")

    def _emit(self, kind: str, **data: Json) -> None:
        self.drive.emit(Event(kind, self.stage.name, dict(data)))
