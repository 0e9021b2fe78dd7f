"""From a :class:`RunView` to one self-contained HTML page. Everything variable is escaped by the template engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pipelines.report import words
from pipelines.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, chart
from pipelines.report.layout import NODE_HEIGHT, NODE_WIDTH, Drawing, lay_out
from pipelines.report.model import Picture, RunView
from pipelines.report.pictures import BUDGET, data_url, within_budget

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MAX_GRAPH: Final = 240
"""Above this many stages a drawing helps nobody; the table is sorted and searchable instead."""


def render(view: RunView, *, written: float | None = None, budget: int = BUDGET) -> str:
    """The page as text. `written` is the Unix time of the footer, `budget` the bytes of all embedded pictures."""
    fitted = within_budget({id(p): p for p in _pictures(view)}, budget)
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            run=view,
            drawing=draw(view),
            charts={stage.name: charts_of(view, stage.name) for stage in view.stages if stage.curves},
            url=lambda picture: data_url(fitted[id(picture)]),
            style=asset("style.css"),
            script=asset("report.js"),
            written=time.time() if written is None else written,
        )
    )


def draw(view: RunView) -> Drawing | None:
    """The stage graph's layout, or None where there is nothing to draw or far too much."""
    if not 0 < len(view.stages) <= MAX_GRAPH:
        return None
    return lay_out({stage.name: stage.inputs for stage in view.stages})


def charts_of(view: RunView, stage: str) -> tuple[Chart, ...]:
    found = next(s for s in view.stages if s.name == stage)
    return tuple(chart(curve) for curve in found.curves if curve.points)


def _pictures(view: RunView) -> Iterator[Picture]:
    for stage in view.stages:
        for comparison in (*stage.comparisons, *stage.previews):
            yield from comparison.pictures
        for strip in stage.strips:
            yield from strip.pictures
        for sheet in stage.samples:
            for pair in sheet.pairs:
                yield from pair.pictures


def asset(name: str) -> Markup:
    """A style sheet or script of the templates' folder, to be put into a page as it is."""
    from markupsafe import Markup

    environment = templates()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The template engine, with the filters that spell numbers and names."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "arrow": words.arrow,
            "delta": words.metric_delta,
            "duration": words.duration,
            "label": words.label_name,
            "metric": words.metric_name,
            "moment": words.moment,
            "number": words.number,
            "observed": words.observed_name,
            "points": _points,
            "size": words.size,
            "unit": words.metric_unit,
            "value": words.metric_value,
            "work": words.work,
        }
    )
    environment.globals.update(
        status_words=words.STATUS,
        node={"width": NODE_WIDTH, "height": NODE_HEIGHT},
        frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    )
    return environment


def _points(found: Chart) -> dict[str, Any]:
    """What the hover readout needs, in few digits."""
    return {
        "p": [[float(f"{v:.6g}") for v in point] for point in found.points],
        "x": found.x_range,
        "y": found.y_range,
        "l": found.log_range,
        "f": [LEFT, RIGHT, TOP, BOTTOM],
    }
