"""Repair: what is missing or damaged of finished work is made again, and nothing else is touched.

Each round verifies, sets wrong bytes aside under the key's claim, and lets an ordinary run heal the stages: only
partitions whose entries are gone run again, and what comes out is compared with what was committed. Setting
aside first loses nothing, because wrong bytes are of no use to anybody, and it is what makes every moment safe:
killed anywhere, the store says of itself what is missing, and the same command (or a plain run) goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from pipelines.canonical import JsonObject
from pipelines.errors import LeaseHeld, UsageError
from pipelines.events import EventSink
from pipelines.graph import Graph
from pipelines.healing import changed_code, drifted
from pipelines.plan import Planner
from pipelines.run import ExecutorChoice, RunResult, new_run_id, run
from pipelines.scheduler import Options
from pipelines.spec.model import Spec
from pipelines.store.heartbeat import Heartbeat, Liveness
from pipelines.store.keylog import Claim, Holder, KeyLog
from pipelines.store.store import Store
from pipelines.verify.check import verify
from pipelines.verify.findings import Finding, StageReport, Verification
from pipelines.verify.reading import Reader

LOOK = 1.0  # seconds between looks at a claim that somebody else holds


@dataclass(slots=True)
class Repaired:
    """What was done. `left` is what is still bad, `aside` where wrong bytes lie now (key in the store by entry).

    `left_out` says of reproducible stages why they were not made again.
    """

    first: Verification
    last: Verification
    runs: list[RunResult] = field(default_factory=list)
    aside: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> tuple[Finding, ...]:
        return self.last.bad

    @property
    def restored(self) -> tuple[Finding, ...]:
        """What was bad and is not any more."""
        left = {(f.stage, f.output, f.entry, f.partition) for f in self.left}
        return tuple(f for f in self.first.bad if (f.stage, f.output, f.entry, f.partition) not in left)

    @property
    def irreplaceable(self) -> tuple[StageReport, ...]:
        """Stages with bad entries that cannot be made again byte for byte."""
        return tuple(stage for stage in self.last.stages if stage.bad and not stage.reproducible)

    def to_json(self) -> JsonObject:
        return {
            "schema": 1,
            "intact": not self.left,
            "restored": [finding.to_json() for finding in self.restored],
            "left": [finding.to_json() for finding in self.left],
            "aside": dict(self.aside),
            "left_out": dict(self.left_out),
            "runs": [result.run for result in self.runs],
            "status": self.runs[-1].status if self.runs else "ok",
        }


class Repair:
    """One repair of some stages of a spec. `say` is told what is waited for."""

    def __init__(
        self, spec: Spec, graph: Graph, store: Store, display: EventSink, *,
        executor: ExecutorChoice, wait: bool = True, reader: Reader | None = None,
        say: Callable[[str], None] = lambda _: None, argv: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._spec, self._graph, self._store, self._display = spec, graph, store, display
        self._executor, self._wait, self._say, self._argv = executor, wait, say, argv
        self._reader = reader or Reader(store)
        self._liveness = Liveness(store)

    def run(self, stages: Sequence[str]) -> Repaired:
        """Verify `stages`, restore what is bad, verify that. Raises LeaseHeld where waiting was refused.

        Damage can hide damage (the index of an input, the manifest of the entries), so this goes on in rounds for
        as long as they find something else.
        """
        found = self._verify(stages)
        self._refuse_bad_inputs(found)
        done = Repaired(found, found)
        for _ in range(len(stages) + 1):
            if not found.bad:
                break
            spoilt = self._leave_out(found, done)
            self._set_aside(found, spoilt, done)
            healable = (
                frozenset(stage.stage for stage in found.stages if stage.bad and stage.reproducible)
                - done.left_out.keys()
            )
            if healable:
                done.runs.append(self._heal(healable))
            done.last = self._verify(stages)
            again = {finding for finding in done.last.bad if finding.stage in healable} & set(found.bad)
            if not healable or done.runs[-1].status != "ok" or again:
                break
            found = done.last
        return done

    def _verify(self, stages: Sequence[str]) -> Verification:
        return verify(Planner(self._spec, self._graph, self._store), stages, self._reader)

    def _refuse_bad_inputs(self, found: Verification) -> None:
        """What is made again from damaged inputs would come out different. Raises UsageError naming them."""
        bad = [stage.stage for stage in found.stages if stage.bad and stage.reproducible]
        chosen = {stage.stage for stage in found.stages}
        inputs = {name for stage in bad for name in self._graph.upstream(stage)} - chosen
        spoilt = [stage.stage for stage in self._verify(sorted(inputs)).stages if stage.bad] if inputs else []
        if spoilt:
            raise UsageError(
                f"{', '.join(bad)}: made from {', '.join(spoilt)}, which is damaged too; "
                f"repair them together: sharpline repair {self._spec.file} {' '.join([*spoilt, *bad])}"
            )

    def _leave_out(self, found: Verification, done: Repaired) -> set[str]:
        """Note which bad stages cannot be what they were, and why; those of them that were made from others.

        The bytes of these stay where they are: nothing would come in their place.
        """
        cannot, spoilt = set[str](), set[str]()
        for stage in found.stages:
            name = stage.stage
            needs = cannot & self._graph.ancestors(name)
            before = [other for other in self._graph.order if other in needs]
            if not stage.bad:
                continue
            if before:
                spoilt.add(name)
                because = f"{', '.join(before)}, which cannot be made again as it was; `--rebuild {before[0]}` decides"
                done.left_out[name] = f"is not made again: it needs {because}"
            elif stage.reproducible and (changed := self._changed(stage)) is not None:
                done.left_out[name] = f"is not made again: {changed_code(name, changed)}"
            if name in done.left_out or not stage.reproducible:
                cannot.add(name)
        return spoilt

    def _changed(self, stage: StageReport) -> list[str] | None:
        """Files of advisory code that changed since a stage was built; None where it is the same code."""
        log = self._store.key_log(stage.key).state() if stage.key is not None and stage.verified else None
        if log is None or log.committed is None:
            return None
        spec = self._spec.stages[stage.stage]
        code = Planner(self._spec, self._graph, self._store).code_of(spec)
        return drifted(spec.stage, code, log.committed, log.accepted)

    def _heal(self, stages: frozenset[str]) -> RunResult:
        options = Options(keep_going=True, wait_for_leases=self._wait, selected=stages)
        return run(
            self._spec, self._graph, self._store, self._display,
            executor=self._executor, options=options, argv=self._argv,
        )  # fmt: skip

    # -- wrong bytes make way

    def _set_aside(self, found: Verification, spoilt: Collection[str], done: Repaired) -> None:
        holder = Holder.current(new_run_id(self._spec.name))
        with Heartbeat(self._store, holder):
            for stage in found.stages:
                if stage.bad and stage.key is not None and stage.stage not in spoilt:
                    self._prepare(stage, stage.key, holder, done)

    def _prepare(self, stage: StageReport, key: str, holder: Holder, done: Repaired) -> None:
        """Under the claim: ask for the lost bytes, so that whoever comes next heals; then make them missing."""
        log = self._store.key_log(key)
        claim = self._claim(stage.stage, log, holder)
        try:
            if stage.reproducible:
                more = f" and {len(stage.bad) - 3} more" if len(stage.bad) > 3 else ""
                log.append_heal(f"{', '.join(_short(finding) for finding in stage.bad[:3])}{more}")
            for finding in stage.bad:
                aside = self._aside(finding)
                if aside is not None:
                    done.aside[f"{finding.stage}.{finding.output}/{finding.entry}"] = aside
        finally:
            claim.release()

    def _aside(self, finding: Finding) -> str | None:
        if finding.fault in ("missing", "misstated"):
            return None
        if finding.blob:
            return self._store.blobs.set_aside(finding.sha256)
        return self._store.trees.set_aside(finding.sha256)

    def _claim(self, name: str, log: KeyLog, holder: Holder) -> Claim:
        """The claim on a committed key. A live holder is waited for, a dead one is replaced."""
        told = False
        while True:
            claim = log.try_claim(holder, though_done=True)
            seen = log.state()
            if claim is None and seen.holder is not None and self._liveness.dead(seen.holder):
                claim = log.take_over(seen, holder)
            if claim is not None:
                return claim
            if seen.holder is None:
                continue
            if not self._wait:
                raise LeaseHeld(f"{name}: {seen.holder} builds the same key; wait for it, or repair without --no-wait")
            if not told:
                self._say(f"{name}: waits for {seen.holder}, which builds the same key")
                told = True
            time.sleep(LOOK)


def _short(finding: Finding) -> str:
    return f"{finding.entry} {'is' if finding.fault != 'swapped' else ''} {finding.what.split(':')[0]}".replace(
        "  ", " "
    )
