"""Writes a run's ``report.html`` into the store, or to a file of the user's choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import writing
from pipelines.report.render import render
from pipelines.report.view import gather

if TYPE_CHECKING:
    from pipelines.store.store import Store

REPORT = "report.html"


def write_report(store: Store, run_id: str, out: Path | None = None) -> Path | None:
    """Write the report of `run_id` as ``runs/<run>/report.html`` and, where `out` is given, there as well.

    Returns the file to open: `out`, else the store's own file, else None for a remote store.
    """
    page = render(gather(store, run_id))
    record = store.run(run_id)
    record.put_text(REPORT, page)
    if out is not None:
        with writing(out, "-o"):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(page, encoding="utf-8")
        return out.resolve()
    return record.path(REPORT)
