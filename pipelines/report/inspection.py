"""The page of ``sharpline inspect``: pictures and distributions of one artifact, in the report's clothes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.inspection import Inspection, Look, Names, Numbers
from pipelines.report.charts import short
from pipelines.report.pictures import data_url, picture, within_budget
from pipelines.report.render import asset, templates

if TYPE_CHECKING:
    from pipelines.lookup import Built

HEIGHT = 64.0  # of a histogram's bars, in view-box units
WIDTH = 240.0


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture on the page: its ``data:`` URL ("" where it was left out) and its true size."""

    label: str
    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle of a histogram: the values from `low` up to below `high`, and how many they are."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A histogram ready for the template. `stated` is (x, width) of the stated range, in view-box units."""

    name: str
    bars: tuple[Bar, ...]
    low: str
    mean: str
    high: str
    stated: tuple[float, float] | None
    said: str


@dataclass(frozen=True, slots=True)
class Row:
    """One name of a categorical column: its share in percent, and the stated one."""

    name: str
    share: float
    count: int
    stated: float | None


def render_inspection(built: Built, found: Inspection, look: Look, *, written: float | None = None) -> str:
    """The page as text: self-contained, pictures as data URIs within the report's budget."""
    shown = [[picture(label, data) for label, data in figure.pictures] for figure in found.figures]
    fitted = within_budget({id(item): item for items in shown for item in items}) if shown else {}
    figures = [
        (figure, [Shot(item.label, data_url(fitted[id(item)]), item.width, item.height) for item in items])
        for figure, items in zip(found.figures, shown, strict=True)
    ]
    return templates().get_template("inspection.html.j2").render(
        built=built,
        found=found,
        look=look,
        figures=figures,
        histogram=_histogram,
        rows=_rows,
        is_numbers=lambda member: isinstance(member, Numbers),
        style=asset("style.css"),
        more_style=asset("inspection.css"),
        script=asset("report.js"),
        written=time.time() if written is None else written,
    )  # fmt: skip


def _histogram(member: Numbers) -> Drawn:
    span = member.high - member.low
    step, top = WIDTH / len(member.counts), max(member.counts)
    bars = []
    for at, count in enumerate(member.counts):
        if count:
            height = max(1.0, HEIGHT * count / top)  # one of a million is still there to see
            low = member.low + span * at / len(member.counts)
            high = member.low + span * (at + 1) / len(member.counts)
            text = f"{short(low)} to {short(high)}: {count:,} ({100 * count / member.total:.3g} %)"
            bars.append(
                Bar(round(at * step, 2), round(HEIGHT - height, 2), round(step * 0.88, 2), round(height, 2), text)
            )
    stated, said = None, ""
    if member.stated is not None:
        low, high = member.stated
        start = max(0.0, (low - member.low) / span * WIDTH)
        end = min(WIDTH, (high - member.low) / span * WIDTH + _last_bin(member, step))
        stated, said = (round(start, 2), round(max(end - start, 2.0), 2)), f"{short(low)} to {short(high)}"
    return Drawn(member.name, tuple(bars), short(member.least), short(member.mean), short(member.most), stated, said)


def _last_bin(member: Numbers, step: float) -> float:
    """Bins of whole numbers start at their value, so that the last value's bin reaches beyond it."""
    assert member.stated is not None
    return step if member.most < member.high and member.stated[1] < member.high else 0.0


def _rows(member: Names) -> list[Row]:
    """The names with their shares; names that are stated and never came are shown as none."""
    total = member.total
    rows = [Row(name, 100 * count / total, count, _percent(member, name)) for name, count in member.counts.items()]
    rows += [Row(name, 0.0, 0, 100 * share) for name, share in member.stated.items() if name not in member.counts]
    return rows + ([Row("others", 100 * member.others / total, member.others, None)] if member.others else [])


def _percent(member: Names, name: str) -> float | None:
    return 100 * member.stated[name] if name in member.stated else None
