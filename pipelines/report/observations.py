"""What was observed while a key was built: curves, pictures and log lines of its attempts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pipelines.canonical import Json, JsonObject
from pipelines.progress.board import as_number, as_text
from pipelines.report.model import Comparison, Curve, Strip
from pipelines.report.pictures import RawPicture, arrange
from pipelines.report.problems import Problems

if TYPE_CHECKING:
    from pipelines.report.history import Stretch
    from pipelines.store.attempts import Attempt

LOG_LINES: Final = 40
MAX_PICTURES: Final = 240
MAX_CURVES: Final = 24
DIVERGED: Final = 1e30
"""No axis can show more than this beside anything else."""
_NOT_VALUES: Final = frozenset({"step", "time", "schema", "writer", "attempt", "seq", "rank"})


def curves(stretches: Sequence[Stretch], problems: Problems) -> tuple[Curve, ...]:
    """All values recorded with a step; for a step seen twice the later attempt wins."""
    rows: list[JsonObject] = []
    for stretch in stretches:
        found = problems.guard("metrics", list[JsonObject](), stretch.attempt.read, "metrics")
        rows += filter(stretch.counts, found)
    return curves_of(rows)


def curves_of(rows: Iterable[Mapping[str, Json]]) -> tuple[Curve, ...]:
    """Curves of rows ``{step, time, name: value, ...}``; later rows win; NaN and absurd values are left out."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        step = as_number(row.get("step"))
        if step is None:
            continue
        inner = row.get("values")
        for name, value in {**row, **(inner if isinstance(inner, dict) else {})}.items():
            number = as_number(value)
            if name not in _NOT_VALUES and number is not None and abs(number) < DIVERGED:
                found.setdefault(name, {})[step] = number
    ranked = sorted(found, key=lambda name: (_importance(name), name))
    return tuple(Curve(name, tuple(sorted(found[name].items()))) for name in ranked)


def _importance(name: str) -> int:
    words = (
        "loss", "psnr", "ssim", "lpips", "grad", "learning_rate", "samples_per_second", "flops_share", "peak_memory",
        "data_wait", "checkpoint_stall",
    )  # fmt: skip
    return next((i for i, word in enumerate(words) if word in name), len(words))


def pictures(stretches: Sequence[Stretch], problems: Problems) -> tuple[tuple[Comparison, ...], tuple[Strip, ...]]:
    """Comparisons and strips of all attempts; a picture recorded again replaces the earlier one."""
    places: dict[str, Attempt] = {}
    notes: dict[str, JsonObject] = {}
    for stretch in stretches:
        rows = problems.guard("images", list[JsonObject](), stretch.attempt.read, "images")
        told = {as_text(row.get("picture") or row.get("name")): row for row in rows}
        late = {name for name, row in told.items() if not stretch.counts(row)}
        stored = problems.guard("pictures", list[str](), stretch.attempt.pictures)
        places |= dict.fromkeys((name for name in stored if name not in late), stretch.attempt)
        notes |= {name: row for name, row in told.items() if name not in late}
    raw = []
    if len(places) > MAX_PICTURES:
        problems.lines.append(f"{MAX_PICTURES} of {len(places)} pictures of {stretches[-1].attempt.folder} are shown")
    for name in in_order(places, notes)[:MAX_PICTURES]:
        data = problems.guard(f"picture {name}", b"", places[name].picture, name)
        if data:
            note = notes.get(name, {})
            step, caption = as_number(note.get("step")), as_text(note.get("caption"))
            shown = as_text(note.get("name")) or name
            raw.append(RawPicture(shown, data, None if step is None else int(step), caption))
    return arrange(raw)


def in_order(places: Iterable[str], notes: Mapping[str, JsonObject]) -> list[str]:
    """Names in the order in which they were recorded; those without a record last."""
    recorded = {name: i for i, name in enumerate(notes)}
    return sorted(places, key=lambda name: (recorded.get(name, len(recorded)), name))


def log_tail(stretches: Sequence[Stretch], problems: Problems) -> tuple[str, ...]:
    """The last lines that the newest attempt with a log wrote."""
    for stretch in reversed(stretches):
        rows = problems.guard("log", list[JsonObject](), stretch.attempt.read, "log")
        if rows:
            return tuple(_log_line(row) for row in rows[-LOG_LINES:])
    return ()


def _log_line(row: Mapping[str, Json]) -> str:
    when = as_number(row.get("time"))
    clock = time.strftime("%H:%M:%S", time.localtime(when)) if when else ""
    text = next((as_text(row[name]) for name in ("message", "text", "msg") if row.get(name) is not None), "")
    level = as_text(row.get("level"))
    unit = as_text(row.get("unit"))
    head = " ".join(part for part in (clock, level if level not in ("INFO", "info") else "", unit) if part)
    return f"{head}  {text}".strip()[:2000]
