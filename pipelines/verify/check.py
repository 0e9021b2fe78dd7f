"""Verification: every committed byte of some stages is read and compared with what it should be."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from pipelines.plan import Planner
from pipelines.store.damage import Found
from pipelines.verify.findings import Fault, Finding, StageReport, Verification
from pipelines.verify.reading import Reader, stated_sizes
from pipelines.verify.survey import Survey, Target, survey


def verify(planner: Planner, stages: Collection[str], reader: Reader) -> Verification:
    """Read every blob and manifest of the committed artifacts of `stages`, and of the partitions that count.

    Nothing is written. Raises StoreError where the store itself cannot be read (no network, no permission):
    that proves nothing about the bytes.
    """
    started, before = time.monotonic(), reader.read
    surveys = survey(planner, stages)
    targets = [target for seen in surveys for target in seen.targets]
    found = reader.look_at(stated_sizes((t.entry.sha256, t.entry.size) for t in targets))
    owners = _owners(targets)
    reports = tuple(_report(seen, found, owners) for seen in surveys)
    return Verification(reports, reader.read - before, time.monotonic() - started)


def _owners(targets: Sequence[Target]) -> dict[str, Target]:
    """The first entry that should hold each content."""
    owners: dict[str, Target] = {}
    for target in targets:
        owners.setdefault(target.entry.sha256, target)
    return owners


def _report(seen: Survey, found: Mapping[str, Found | None], owners: Mapping[str, Target]) -> StageReport:
    bad = list(seen.bad)
    for target in seen.targets:
        finding = _finding(target, found[target.entry.sha256], owners)
        if finding is not None:
            bad.append(finding)
    bytes_ = sum({t.entry.sha256: t.entry.size for t in seen.targets}.values())
    return StageReport(
        stage=seen.stage,
        key=seen.identity.key if seen.identity and (seen.commit or not seen.bad) else None,  # else nothing can claim it
        verified=seen.commit is not None,
        complete=seen.complete,
        said=seen.said,
        reproducible=seen.reproducible and not (seen.bad and seen.commit is None),
        entries=len(seen.targets),
        bytes=bytes_,
        bad=tuple(bad),
    )


def _finding(target: Target, found: Found | None, owners: Mapping[str, Target]) -> Finding | None:
    entry = target.entry
    if found is not None and (found.sha256, found.size) == (entry.sha256, entry.size):
        return None
    holds = None
    if found is None:
        fault: Fault = "missing"
    elif found.sha256 == entry.sha256:
        fault = "misstated"
    elif not found.sha256:
        fault = "unreadable"
    elif found.size and found.sha256 in owners:
        fault, holds = "swapped", _name(owners[found.sha256], target)
    elif found.size != entry.size:
        fault = "truncated" if found.size < entry.size else "longer"
    else:
        fault = "damaged"
    return Finding(
        target.stage, target.output, entry.name, fault, entry.sha256, entry.size,
        found.sha256 if found else None, found.size if found else None, holds, target.partition,
        blob=fault != "misstated",
    )  # fmt: skip


def _name(owner: Target, seen_from: Target) -> str:
    if (owner.stage, owner.output) == (seen_from.stage, seen_from.output):
        return owner.entry.name
    return f"{owner.stage}.{owner.output}/{owner.entry.name}"
