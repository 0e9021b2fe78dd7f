"""What would happen, and why: one assessment a stage, made from the store and never from a guess.

The same assessment serves ``sharpline plan`` (all stages at once, upstream results assumed as they are now) and
the scheduler (one stage at a time, when its upstreams are done). It reads; it never writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pydantic

from pipelines.assessment import Assessment, Identity, Outputs, State, Work, lineage_of
from pipelines.canonical import JsonObject, NotCanonical
from pipelines.errors import Damaged, SharplineError, StageFailed, StoreError, UsageError
from pipelines.failure import Failure
from pipelines.fingerprint import CodeFingerprint, fingerprint
from pipelines.graph import Graph
from pipelines.healing import changed_code, drifted, lost_bytes, whole_rows, words
from pipelines.history import History
from pipelines.inputs import InputArtifact, StoredArtifact
from pipelines.keys import family, lineage, partition_key, source_identity, stage_key, stage_payload
from pipelines.reasons import Reason
from pipelines.sources import known_hashes
from pipelines.spec.model import Spec, StageSpec
from pipelines.stage import Artifact, FieldRole, InputFacets, Partition, SourceFile, StageError
from pipelines.store.keylog import Commit, KeyState
from pipelines.store.parts import PartRow
from pipelines.store.store import Store
from pipelines.why import why
from pipelines.wording import some


@dataclass(frozen=True, slots=True)
class Plan:
    """Assessments of the selected stages in the order in which they would run."""

    stages: Mapping[str, Assessment]

    @property
    def has_work(self) -> bool:
        """Whether a run would start anything."""
        return any(stage.state != "cached" for stage in self.stages.values())

    def to_json(self) -> JsonObject:
        return {"schema": 1, "stages": [stage.to_json() for stage in self.stages.values()]}


class Planner:
    """Assesses stages of one spec against one store."""

    def __init__(self, spec: Spec, graph: Graph, store: Store, *, rebuild: Collection[str] = ()) -> None:
        self.spec, self.graph, self.store = spec, graph, store
        self._rebuild = set(rebuild)
        self._history = History(store, spec.name)
        self._code: dict[str, CodeFingerprint] = {}

    # -- whole plan

    def plan(self, selected: Collection[str] | None = None) -> Plan:
        """Assess every selected stage, taking what is committed now as what downstream stages will see."""
        known: dict[str, Outputs] = {}
        found: dict[str, Assessment] = {}
        for name in concerned(self.graph, selected):
            assessment = self._planned(name, known, found, selected)
            if assessment.outputs is not None and assessment.state == "cached":
                known[name] = assessment.outputs
            found[name] = assessment
        if selected is not None:
            found = {name: a for name, a in found.items() if name in selected}
        return Plan(found)

    def _planned(
        self,
        name: str,
        known: Mapping[str, Outputs],
        found: Mapping[str, Assessment],
        selected: Collection[str] | None,
    ) -> Assessment:
        upstream = [u for u in self.graph.upstream(name) if u not in known]
        if not upstream:
            return self.assess(name, known)
        stuck = [u for u in upstream if found[u].state in ("lost", "blocked")]
        unchosen = [u for u in upstream if selected is not None and u not in selected]
        if stuck:
            return self._upstream(name, "blocked", stuck, f"needs {', '.join(stuck)}, which cannot be had")
        if unchosen:
            return self._upstream(name, "blocked", unchosen, needs_unselected(name, unchosen))
        names = ", ".join(upstream)
        if name in self._rebuild:
            return self._upstream(name, "pending", upstream, f"--rebuild was given; waits for {names}")
        if not self._history.candidates(name):
            return self._upstream(name, "pending", upstream, f"waits for {names}")
        return self._upstream(name, "pending", upstream, f"{names} will run; cached if the same bytes come out")

    def _upstream(self, name: str, state: State, upstream: Sequence[str], text: str) -> Assessment:
        reason = Reason("upstream", "inputs", None, list(upstream), text)
        return Assessment(name, self.spec.stages[name].uses, state, (reason,))

    # -- one stage

    def assess(self, name: str, known: Mapping[str, Outputs]) -> Assessment:
        """The state of stage `name`, whose upstream results are all in `known`.

        What the stage's own class methods raise makes it blocked; what the store raises is raised.
        """
        stage = self.spec.stages[name]
        try:
            return self._assess(stage, known)
        except StoreError:
            raise
        except Exception as error:
            failure = Failure.from_exception(error)
            if failure.kind == "internal":
                raise
            worded = isinstance(error, (SharplineError, StageError))
            text = str(error) if worded else f"{failure.type}: {failure.message} ({failure.place})"
            reason = Reason("source", name, None, None, text, None)
            return Assessment(name, stage.uses, "blocked", (reason,), failure=failure)

    def _assess(self, stage: StageSpec, known: Mapping[str, Outputs]) -> Assessment:
        name = stage.name
        identity = self.identify(stage, known)
        log = self.store.key_log(identity.key).state()
        commit = log.committed
        if name in self._rebuild:
            return self._to_build(stage, identity, log, [Reason.rebuild("--rebuild was given")])
        if commit is not None and log.done:
            return self._committed(stage, identity, log, commit)
        if commit is not None and log.healing:
            return self._lost(stage, identity, log, commit, str(lost_bytes(self.store, commit.outputs) or log.why))
        asked = [Reason.rebuild("a rebuild was asked for and has not finished")] if log.rebuild else []
        return self._to_build(stage, identity, log, asked)

    def identify(self, stage: StageSpec, known: Mapping[str, Outputs]) -> Identity:
        """Key, family and lineage of a stage. Lists its sources (stat only)."""
        inputs = {slot: tuple(self._resolve(ref, known) for ref in refs) for slot, refs in stage.inputs.items()}
        listings = dict(stage.stage.list_sources(stage.config))
        slots = stage.stage.inputs
        digests: dict[str, str | list[str]] = {
            slot: [a.digest for a in found] if slots[slot].many else found[0].digest for slot, found in inputs.items()
        }
        code = self.code_of(stage)
        in_key = code.digest if stage.stage.code_policy == "key" else None
        sources = {name: source_identity(listing) for name, listing in listings.items()}
        payload = stage_payload(stage.stage, stage.config, digests, sources, in_key, _ranks_in_key(stage))
        return Identity(
            key=stage_key(payload),
            payload=payload,
            family=family(payload),
            lineage=lineage(stage.stage, stage.config, payload),
            inputs=inputs,
            listings=listings,
            code=code,
        )

    def code_of(self, stage: StageSpec) -> CodeFingerprint:
        """The code fingerprint of a stage's class, computed once a plan."""
        if stage.uses not in self._code:
            self._code[stage.uses] = fingerprint(stage.stage, self.spec.code)
        return self._code[stage.uses]

    def _resolve(self, ref: Any, known: Mapping[str, Outputs]) -> InputArtifact:
        if ref.stage is None:
            tree = str(ref.uri).removeprefix("artifact:")
            if not self.store.trees.has(tree):
                raise StageError(f"{ref.where}: artifact {tree} is not in {self.store.url}")
            return InputArtifact(ref.label, tree)
        slot = self.graph.output_slot(ref)
        assert slot is not None, "the graph was checked: every edge ends in an output"
        return InputArtifact(ref.label, known[ref.stage][slot])

    # -- committed

    def _committed(self, stage: StageSpec, identity: Identity, log: KeyState, commit: Commit) -> Assessment:
        lost = lost_bytes(self.store, commit.outputs)
        if lost:
            return self._lost(stage, identity, log, commit, str(lost))
        drift = self._drift(stage, identity, log, commit)
        return Assessment(stage.name, stage.uses, "cached", drift, identity, dict(commit.outputs), log)

    def _lost(self, stage: StageSpec, identity: Identity, log: KeyState, commit: Commit, lost: str) -> Assessment:
        """A committed stage whose bytes are gone: healed, unless what comes out now would be something else."""
        changed = drifted(stage.stage, identity.code, commit, log.accepted)
        reproducible = bool(commit.meta.get("reproducible", True))
        if reproducible and changed is None:
            return self._to_heal(stage, identity, log, lost)
        reason = Reason("lost", stage.name, None, None, f"committed, but its bytes are gone: {lost}", None)
        text = f"it is not reproducible; `--rebuild {stage.name}` builds another"
        if reproducible and changed is not None:
            text = changed_code(stage.name, changed)
        advice = Reason("lost", stage.name, None, None, text, None)
        return Assessment(stage.name, stage.uses, "lost", (reason, advice), identity, None, log)

    def _to_heal(self, stage: StageSpec, identity: Identity, log: KeyState, lost: str) -> Assessment:
        """A committed stage of which bytes were lost: what is still there counts, in partitions."""
        base = Assessment(stage.name, stage.uses, "run", (), identity, None, log)
        found = self._with_progress(stage, identity, base)
        text = f"committed, but its bytes are gone: {lost}"
        if found.work is not None:
            text = words(lost, len(found.work.keys), len(found.work.missing))
        return replace(found, reasons=(Reason("lost", stage.name, None, None, text, None),))

    def _drift(self, stage: StageSpec, identity: Identity, log: KeyState, commit: Commit) -> tuple[Reason, ...]:
        """Advisory stages: code that changed since the commit and was not accepted."""
        changed = drifted(stage.stage, identity.code, commit, log.accepted)
        if changed is None:
            return ()
        built = cast("JsonObject", commit.meta["code"])["digest"]
        text = (
            f"code: {some(changed)} changed since this was built; the result is kept: "
            f"`sharpline accept {stage.name}` or `--rebuild {stage.name}` decides"
        )
        return (Reason("advisory", "code", built, identity.code.digest, text, None),)

    # -- to build

    def _to_build(self, stage: StageSpec, identity: Identity, log: KeyState, because: Sequence[Reason]) -> Assessment:
        base = Assessment(stage.name, stage.uses, "run", tuple(because), identity, None, log)
        fresh = bool(because) and any(reason.kind == "rebuild" for reason in because)
        base = self._with_progress(stage, identity, base)
        if base.reasons and (fresh or base.state == "resume"):
            return base
        return replace(base, reasons=(*base.reasons, *why(self.store, self._history, stage, identity)))

    def _with_progress(self, stage: StageSpec, identity: Identity, base: Assessment) -> Assessment:
        if stage.stage.is_partitioned():
            return self._with_partitions(stage, identity, base)
        total = horizon(stage.config)
        if total is None:
            return base
        line = self._line(base)
        steps = [s for s in self.store.checkpoints(lineage_of(identity, line)).steps() if s <= total]
        if not steps:
            return replace(base, total=float(total), unit="steps")
        reason = Reason("partition", stage.name, None, None, f"checkpoint at step {max(steps)} of {total}", None)
        return replace(
            base, state="resume", reasons=(*base.reasons, reason), done=float(max(steps)), total=float(total),
            unit="steps",
        )  # fmt: skip

    def _with_partitions(self, stage: StageSpec, identity: Identity, base: Assessment) -> Assessment:
        sources = known_hashes(self.store, stage.stage, identity.listings)
        if sources is None:
            return base
        work = self.work(stage, identity, sources, base)
        total, left = len(work.keys), len(work.missing)
        counted = replace(base, work=work, done=float(total - left), total=float(total), unit="partitions")
        if left == total:
            return counted
        reason = Reason("partition", stage.name, None, None, f"{left} of {total} partitions left", None)
        return replace(counted, state="resume", reasons=(*base.reasons, reason))

    def work(
        self, stage: StageSpec, identity: Identity, sources: Mapping[str, Sequence[SourceFile]], base: Assessment
    ) -> Work:
        """All partitions of a stage with their keys, and the finished ones that still may be used."""
        artifacts: dict[str, Artifact] = {
            slot: StoredArtifact(self.store, found[0].digest, found[0].label)
            for slot, found in identity.inputs.items()
            if not stage.stage.inputs[slot].many
        }
        try:
            partitions = tuple(stage.stage.partitions(stage.config, artifacts, sources))
        except Damaged as error:  # of an input: it is this stage that cannot go on, and not the plan
            raise StageError(str(error)) from error
        _refuse_twins(stage, partitions)
        keys = tuple(_partition_key(stage, identity.family, part) for part in partitions)
        table = self.store.parts(identity.family).load()
        rows = [table[key] for key in keys if key in table]
        generation = self.generation(base)
        if generation is not None:
            rows = [row for row in rows if _made_since(row, identity.key, generation)]
        # Whether bytes are there is asked where that is cheap or some are known to be missing; else by the commit.
        if self.store.is_local or (base.log is not None and base.log.committed is not None):
            rows = whole_rows(self.store, rows)
        return Work(partitions, keys, frozenset(row.key for row in rows))

    def ask_to_rebuild(self, name: str, assessment: Assessment) -> None:
        """Write to the key log, before a claim, that a committed stage is to be built again, if it is."""
        log = assessment.log
        if name in self._rebuild:
            self.store.key_log(_key(assessment)).append_rebuild("--rebuild was given")
            self._rebuild.discard(name)
        elif log is not None and log.done and assessment.state in ("run", "resume"):
            lost = next(reason.text for reason in assessment.reasons if reason.kind == "lost")
            self.store.key_log(_key(assessment)).append_heal(lost)

    def earlier_signatures(self, name: str) -> list[str]:
        """Listings that earlier builds of the stage hashed, latest first."""
        found = []
        for earlier in self._history.candidates(name):
            sources = cast("dict[str, dict[str, str]]", earlier.payload.get("sources") or {})
            found += [source["signature"] for source in sources.values()]
        return found

    def generation(self, assessment: Assessment) -> int | None:
        """The record number of the rebuild that is under way, if one is: older partial work does not count."""
        log = assessment.log
        if log is not None and assessment.name in self._rebuild:
            return log.next_n
        return log.rebuild_n if log else None

    def _line(self, assessment: Assessment) -> int | None:
        """The same for trainer state, which is not gone on with to heal either."""
        log = assessment.log
        if log is not None and (assessment.name in self._rebuild or log.done):
            return log.next_n
        return log.line if log else None


def horizon(config: pydantic.BaseModel) -> int | None:
    """The value of a trainer's `Extendable` field (how many steps in all), or None where there is none."""
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if any(isinstance(mark, FieldRole) and mark.role == "extendable" for mark in info.metadata):
            return int(value)
        if isinstance(value, pydantic.BaseModel) and (inner := horizon(value)) is not None:
            return inner
    return None


def concerned(graph: Graph, selected: Collection[str] | None) -> tuple[str, ...]:
    """The stages that a selection is about, in order: those selected, and those whose results they need."""
    if selected is None:
        return graph.order
    needed = set(selected).union(*(graph.ancestors(name) for name in selected))
    return tuple(name for name in graph.order if name in needed)


def needs_unselected(name: str, unchosen: Sequence[str]) -> str:
    """Why a selected stage cannot be built, and what to type instead."""
    return f"needs {', '.join(unchosen)}, not built yet and not selected; --select +{name} takes in what it needs"


def _ranks_in_key(stage: StageSpec) -> int:
    """The ranks of a gang whose bytes are promised to be the same; 1 where no key depends on them."""
    ranks = stage.resources.ranks or 1
    if ranks == 1:
        return 1
    many = {slot for slot, declared in stage.stage.inputs.items() if declared.many}
    connected: InputFacets = {slot: [{} for _ in refs] if slot in many else {} for slot, refs in stage.inputs.items()}
    outputs = stage.stage.outputs(stage.config, connected)
    return ranks if all(output.reproducible for output in outputs.values()) else 1


def _key(assessment: Assessment) -> str:
    assert assessment.identity is not None
    return assessment.identity.key


def _made_since(row: PartRow, key: str, generation: int) -> bool:
    made_by, _, attempt = row.attempt.rpartition("/")
    return made_by == key and int(attempt) > generation


def _partition_key(stage: StageSpec, family: str, partition: Partition) -> str:
    try:
        return partition_key(family, partition)
    except NotCanonical as error:
        raise StageFailed(f"{stage.name}: {stage.uses} made partition {partition.id!r}, {error}") from error


def _refuse_twins(stage: StageSpec, partitions: Sequence[Partition]) -> None:
    if not partitions:
        raise UsageError(f"{stage.name}: {stage.uses} has no partitions: its inputs are empty")
    twice, count = Counter(part.id for part in partitions).most_common(1)[0]
    if count > 1:
        raise StageFailed(f"{stage.name}: {stage.uses} made two partitions called {twice!r}; ids must differ")
