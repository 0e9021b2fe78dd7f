"""What was observed while a key was built: curves, pictures and log lines of its attempts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from pipelines.canonical import Json, JsonObject
from pipelines.progress.board import as_number, as_text
from pipelines.report.model import Comparison, Curve, Strip
from pipelines.report.pictures import RawPicture, arrange

if TYPE_CHECKING:
    from pipelines.store.attempts import Attempt
    from pipelines.store.store import Store

T = TypeVar("T")

LOG_LINES: Final = 40
MAX_PICTURES: Final = 240
MAX_CURVES: Final = 24
DIVERGED: Final = 1e30
"""No axis can show more than this beside anything else."""
_NOT_VALUES: Final = frozenset({"step", "time", "schema", "writer", "attempt", "seq", "rank"})


class Problems:
    """Collects what could not be read, so that one lost object costs one line of the page and not the page."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def guard(self, what: str, default: T, read: Callable[..., T], *args: object) -> T:
        """The value of ``read(*args)``, or `default` after noting why not."""
        try:
            return read(*args)
        except Exception as error:
            self.lines.append(f"{what}: {type(error).__name__}: {error}"[:300])
            return default


def attempts_of(store: Store, key: str, attempt: int | None, problems: Problems) -> list[Attempt]:
    """The attempts that led to the result, oldest first: all of the key up to `attempt`."""
    numbers = problems.guard(f"attempts of {key[:15]}", list[int](), store.attempts, key)
    if attempt is not None:
        numbers = sorted({n for n in numbers if n <= attempt} | {attempt})
    return [store.attempt(key, n) for n in numbers]


def curves(attempts: Sequence[Attempt], problems: Problems) -> tuple[Curve, ...]:
    """All values recorded with a step; for a step seen twice the later attempt wins."""
    rows: list[JsonObject] = []
    for attempt in attempts:
        rows += problems.guard("metrics", [], attempt.read, "metrics")
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
    return tuple(Curve(name, tuple(sorted(found[name].items()))) for name in ranked[:MAX_CURVES])


def _importance(name: str) -> int:
    words = ("loss", "psnr", "ssim", "lpips", "grad", "learning_rate")
    return next((i for i, word in enumerate(words) if word in name), len(words))


def pictures(attempts: Sequence[Attempt], problems: Problems) -> tuple[tuple[Comparison, ...], tuple[Strip, ...]]:
    """Comparisons and strips of all attempts; a picture recorded again replaces the earlier one."""
    places: dict[str, Attempt] = {}
    notes: dict[str, JsonObject] = {}
    for attempt in attempts:
        for name in problems.guard("pictures", list[str](), attempt.pictures):
            places[name] = attempt
        for row in problems.guard("images", list[JsonObject](), attempt.read, "images"):
            notes[as_text(row.get("picture") or row.get("name"))] = row
    raw = []
    if len(places) > MAX_PICTURES:
        problems.lines.append(f"{MAX_PICTURES} of {len(places)} pictures of {attempts[-1].folder} are shown")
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


def log_tail(attempts: Sequence[Attempt], problems: Problems) -> tuple[str, ...]:
    """The last lines that the newest attempt with a log wrote."""
    for attempt in reversed(attempts):
        rows = problems.guard("log", list[JsonObject](), attempt.read, "log")
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
