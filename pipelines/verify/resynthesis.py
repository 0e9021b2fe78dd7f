"""Making partitions again, to prove that today's code and libraries still give the bytes that are stored.

They run as ever, in a process pool, but into a folder that is thrown away: the store is only read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence

from pipelines.artifact import Entry
from pipelines.errors import UsageError
from pipelines.executors.local import LocalExecutor
from pipelines.executors.task import Outcome
from pipelines.ledger import needs_of
from pipelines.plan import Planner
from pipelines.spec.model import StageSpec
from pipelines.stage import Partition
from pipelines.store.parts import PartRow
from pipelines.units import unit_task
from pipelines.verify.findings import Redone
from pipelines.verify.survey import Survey, survey


def percent(text: str | None) -> float | None:
    """``1%`` or ``0.5`` as a number above 0 and up to 100. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 < value <= 100:
        raise UsageError(f"--resynthesise: expected a share such as 1%, above 0 and up to 100, got {text!r}")
    return value


def resynthesise(
    planner: Planner, stages: Collection[str], share: float, *, seed: int = 0, cpus: int | None = None
) -> tuple[Redone, ...]:
    """Make `share` percent of the partitions of each stage again, at least one, and compare with what is stored."""
    executor = LocalExecutor(cpus)
    try:
        return tuple(_stage(planner, seen, share, seed, executor) for seen in survey(planner, stages))
    finally:
        executor.close()


def chosen(partitions: Sequence[tuple[Partition, str]], share: float, seed: int) -> list[tuple[Partition, str]]:
    """`share` percent of the partitions (with their keys), at least one: the same ones for the same seed."""
    count = max(1, math.ceil(len(partitions) * share / 100 - 1e-9))

    def draw(item: tuple[Partition, str]) -> bytes:
        return hashlib.sha256(f"resynthesise {seed} {item[1]}".encode()).digest()

    return sorted(partitions, key=draw)[:count]


def _stage(planner: Planner, seen: Survey, share: float, seed: int, executor: LocalExecutor) -> Redone:
    stage = planner.spec.stages[seen.stage]
    because = _refusal(stage, seen)
    if because:
        return Redone(seen.stage, said=because)
    known = [item for item in seen.partitions if item[1] in seen.rows]
    picked = chosen(known, share, seed)
    differences: list[str] = []
    for (partition, key), outcome in zip(picked, _outcomes(planner, stage, seen, picked, executor), strict=True):
        title = f"{seen.stage}[{partition.id}]"
        if outcome.failure is not None:
            differences.append(f"{title}: could not be made again: {outcome.failure.type}: {outcome.failure.message}")
            continue
        differences += [f"{title}: {text}" for text in _differences(outcome, seen.rows[key])]
    said = _explain(stage) if differences else ""
    return Redone(seen.stage, tuple(p.id for p, _ in picked), len(seen.partitions), said, tuple(differences))


def _refusal(stage: StageSpec, seen: Survey) -> str:
    """Why a stage's partitions cannot be made again, or ""."""
    if seen.commit is None:
        return seen.said
    if not stage.stage.is_partitioned():
        return "has no partitions that could be made again one by one"
    if not seen.reproducible:
        return "is not reproducible: it need not come out the same"
    if not any(key in seen.rows for _, key in seen.partitions):
        return seen.said or "its partition table is gone, so there is nothing to compare with"
    return ""


def _outcomes(
    planner: Planner, stage: StageSpec, seen: Survey, picked: Sequence[tuple[Partition, str]], executor: LocalExecutor
) -> Iterator[Outcome]:
    """One outcome for each of `picked`, in order; as many run at once as there are cores."""
    assert seen.identity is not None
    assert seen.commit is not None
    needs = needs_of(stage.resources)
    code = tuple(str(path) for path in planner.spec.code)
    base = unit_task(planner.store, stage, seen.identity, code, needs, seen.commit.attempt, seen.identity.lineage)
    at_once = max(1, int(executor.capacity()["CPU"] // max(needs.cpus, 1)))
    ended: dict[int, Outcome] = {}
    tickets: list[int] = []
    for partition, key in picked:
        while len(tickets) - len(ended) >= at_once:
            ended |= dict(executor.wait(1.0))
        tickets.append(executor.submit(base.rehearsal(partition, key), needs))
    while len(ended) < len(tickets):
        ended |= dict(executor.wait(1.0))
    return iter([ended[ticket] for ticket in tickets])


def _differences(outcome: Outcome, row: PartRow) -> Iterator[str]:
    for slot in sorted({*outcome.entries, *row.entries}):
        now, stored = _content(outcome.entries.get(slot, ())), _content(row.entries.get(slot, ()))
        for name in sorted({*now, *stored}):
            one, other = stored.get(name), now.get(name)
            if one == other:
                continue
            if one is None or other is None:
                yield f"{slot}/{name}: {'not stored before' if one is None else 'not made any more'}"
            elif one.sha256 != other.sha256:
                yield f"{slot}/{name}: stored {one.sha256} ({one.size} bytes), now {other.sha256} ({other.size} bytes)"
            else:
                yield f"{slot}/{name}: stored facts {one.meta}, now {other.meta}"


def _content(entries: Sequence[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries if not entry.derived}


def _explain(stage: StageSpec) -> str:
    libraries = ", ".join(stage.stage.libraries) or "none"
    code = "the stage's code and " if stage.stage.code_policy == "key" else ""
    return (
        f"{code}its declared libraries ({libraries}) are those of the stored bytes: with others the key would be "
        "another. Look for a library that is not declared, another CPU family, or unseeded randomness"
    )
