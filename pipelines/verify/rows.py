"""Damaged rows of partition tables that nothing brings back: of stages that are not made again unasked.

A row only spares a later build its partition, so it may go: the partition is built again when a stage needs it.
"""

from __future__ import annotations

from pipelines.store.store import Store
from pipelines.verify.findings import Finding, Verification


def drop_rows(store: Store, found: Verification) -> tuple[Finding, ...]:
    """Fold the tables of `found` without their damaged rows, which are kept under ``damaged/``; those rows."""
    rows = tuple(finding for finding in found.bad if finding.is_row)
    for family in sorted({row.output.split("/")[1] for row in rows}):
        store.parts(family).compact()
    return rows
