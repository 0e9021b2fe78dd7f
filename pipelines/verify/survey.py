"""What there is to verify: the committed artifacts of each stage's current key, and the partitions that count.

A survey reads key logs, manifests and partition tables, past everything that a process remembers; no blob.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pipelines.artifact import Entry, Manifest
from pipelines.assessment import Assessment, Identity, Outputs
from pipelines.errors import Damaged, SharplineError
from pipelines.plan import Planner
from pipelines.sources import known_hashes
from pipelines.stage import Partition, StageError
from pipelines.store.keylog import Commit, DamagedRecord
from pipelines.store.objects import ObjectNotFound
from pipelines.store.parts import PartRow
from pipelines.store.trees import read_manifest, tree_key
from pipelines.verify.findings import MANIFEST, Fault, Finding


@dataclass(frozen=True, slots=True)
class Target:
    """A blob that must be there: entry of an output, of the committed artifact (`kept`) or only of a partition."""

    stage: str
    output: str
    entry: Entry
    partition: str | None
    kept: bool


@dataclass(slots=True)
class Survey:
    """What is known of one stage. `rows` holds the finished partitions by partition key.

    `complete` is false where something could not be looked at; `said` tells what, and why.
    """

    stage: str
    identity: Identity | None = None
    commit: Commit | None = None
    said: str = ""
    complete: bool = True
    targets: list[Target] = field(default_factory=list)
    bad: list[Finding] = field(default_factory=list)
    partitions: tuple[tuple[Partition, str], ...] = ()
    rows: dict[str, PartRow] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)

    @property
    def reproducible(self) -> bool:
        """As the commit says."""
        return self.commit is None or bool(self.commit.meta.get("reproducible", True))


def survey(planner: Planner, wanted: Collection[str]) -> list[Survey]:
    """Look at `wanted` stages, in graph order. What an upstream stage has committed counts, intact or not."""
    known: dict[str, Outputs] = {}
    found: list[Survey] = []
    untold: set[str] = set()
    for name in planner.graph.order:
        seen = _look(planner, name, known, untold, read=name in wanted)
        if seen.commit is None and not seen.complete:
            untold.add(name)
        if seen.commit is not None:
            known[name] = seen.commit.outputs
        if name in wanted:
            found.append(seen)
    return found


def _look(planner: Planner, name: str, known: dict[str, Outputs], untold: Collection[str], *, read: bool) -> Survey:
    seen = Survey(name)
    missing = [u for u in planner.graph.upstream(name) if u not in known]
    if missing:
        seen.complete = not any(u in untold for u in missing)
        what = "not built: needs" if seen.complete else "its key cannot be told without that of"
        seen.said = f"{what} {', '.join(missing)}"
        return seen
    stage = planner.spec.stages[name]
    try:
        seen.identity = planner.identify(stage, known)
    except (StageError, SharplineError) as error:
        seen.said, seen.complete = f"its key cannot be told: {error}", False
        return seen
    try:
        log = planner.store.key_log(seen.identity.key).state()
    except DamagedRecord as error:
        seen.bad.append(Finding.of_record(name, error))
        seen.said, seen.complete = "what it has committed cannot be told: its key log is damaged", False
        return seen
    seen.commit = log.committed
    if seen.commit is None:
        seen.said = "not built"
    elif read:
        _read_manifests(planner, seen, seen.commit)
        if stage.stage.is_partitioned():
            _read_rows(planner, seen, Assessment(name, stage.uses, "run", (), seen.identity, None, log))
    return seen


def _read_manifests(planner: Planner, seen: Survey, commit: Commit) -> None:
    objects = planner.store.objects
    for slot, digest in commit.outputs.items():
        fault: Fault | None = None
        size: int | None = None
        try:
            raw = objects.get(tree_key(digest))
            size = len(raw)
            manifest = read_manifest(raw, digest, tree_key(digest), exactly=True)
        except ObjectNotFound:
            fault = "missing"
        except Damaged:
            fault = "damaged"
        if fault is not None:
            seen.bad.append(Finding(seen.stage, slot, MANIFEST, fault, digest, found_size=size, blob=False))
            continue
        seen.manifests[slot] = manifest
        seen.targets += [Target(seen.stage, slot, entry, None, True) for entry in manifest.entries]


def _read_rows(planner: Planner, seen: Survey, base: Assessment) -> None:
    """The rows that a resume would trust, and which partition writes which entry."""
    stage = planner.spec.stages[seen.stage]
    assert seen.identity is not None
    table = planner.store.parts(seen.identity.family).load()
    seen.bad += [Finding.of_row(seen.stage, line) for line in table.bad]
    try:
        sources = known_hashes(planner.store, stage.stage, seen.identity.listings)
        if sources is None:
            seen.said = "its partitions were not looked at: the files of its source have to be hashed anew"
            seen.complete = False
            return
        work = planner.work(stage, seen.identity, sources, base)
    except Exception as error:  # of the stage's own code, or an input that is itself damaged
        seen.said, seen.complete = f"its partitions could not be looked at: {error}", False
        return
    seen.partitions = tuple(zip(work.partitions, work.keys, strict=True))
    seen.rows = {key: table[key] for key in work.keys if key in table}
    writers: dict[tuple[str, str, str], str] = {}
    for partition, key in seen.partitions:
        for slot, entries in seen.rows[key].entries.items() if key in seen.rows else ():
            writers |= {(slot, entry.name, entry.sha256): partition.id for entry in entries}
            seen.targets += [Target(seen.stage, slot, entry, partition.id, False) for entry in entries]
    kept = {(t.output, t.entry.name, t.entry.sha256, t.entry.size): t for t in seen.targets if t.kept}
    only_rows = [
        t for t in seen.targets if not t.kept and (t.output, t.entry.name, t.entry.sha256, t.entry.size) not in kept
    ]
    named = [
        Target(t.stage, t.output, t.entry, writers.get((t.output, t.entry.name, t.entry.sha256)), True)
        for t in kept.values()
    ]
    seen.targets = named + only_rows
