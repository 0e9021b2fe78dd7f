"""Metric tables out of whatever nesting of numbers an evaluation wrote."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pipelines.canonical import Json, JsonObject
from pipelines.report.model import Cell, Curve, MetricTable

MAX_ROWS: Final = 200
MAX_COLUMNS: Final = 40
_HIGHER: Final = ("psnr", "ssim", "musiq", "maniqa", "clipiqa", "topiq", "vif", "throughput", "per_second")
_LOWER: Final = (
    "lpips", "dists", "niqe", "fid", "loss", "mse", "mae", "rmse", "brisque", "seconds", "latency", "ms",
    "memory", "parameters", "bytes", "error",
)  # fmt: skip


def direction(metric: str) -> int:
    """+1 when more of `metric` is better, -1 when less is, 0 when unknown."""
    name = metric.lower()
    if any(word in name for word in _HIGHER):
        return 1
    parts = set(name.replace("-", "_").replace(".", "_").split("_"))
    return -1 if any(word in parts or (len(word) > 3 and word in name) for word in _LOWER) else 0


def metric_tables(data: Json, title: str = "") -> tuple[MetricTable, ...]:
    """One table for every mapping of rows to numbers found in `data`, in the order of the document.

    A mapping whose values are mappings of numbers is a table (its keys are rows). Loose numbers become a
    table of one row. Texts and settings beside a table, such as a protocol, are its facts.
    """
    return tuple(_tables(data, title)) if isinstance(data, dict) else ()


def _tables(data: JsonObject, title: str) -> Iterator[MetricTable]:
    facts = tuple(_facts(data))
    rows = {label: numbers for label, value in data.items() if (numbers := _numbers(value))}
    rows = {label: numbers for label, numbers in rows.items() if label not in ("protocol", "schema", "settings")}
    if rows and _is_table(data, rows):
        yield _table(title, rows, facts)
        return
    loose = _numbers({k: v for k, v in data.items() if k not in ("schema", "protocol")})
    if loose:
        yield _table(title, {title or "value": loose}, facts)
        facts = ()
    for label, value in data.items():
        if isinstance(value, dict) and label not in ("protocol", "settings"):
            heading = title if label in ("models", "datasets") else f"{title} / {label}" if title else label
            for table in _tables(value, heading):
                yield MetricTable(table.title, table.columns, table.rows, table.baseline, facts + table.facts)


def name_models(table: MetricTable, stages: Mapping[str, str]) -> MetricTable:
    """Rows named ``family-<first 12 of a model's digest>`` get the name of the stage that made it (by that prefix).

    A metrics artifact names models by digest, so that its bytes do not depend on how a spec calls its stages.
    What follows an ``@`` (sampling steps) is kept.
    """
    return replace(table, rows=tuple((_named(label, stages), cells) for label, cells in table.rows))


def with_observed(table: MetricTable, curves: Sequence[Curve]) -> MetricTable:
    """`table` with what was only observed of its rows, as a value ``<row>/<name>`` at one step: seconds an image.

    An artifact of the same bytes for the same inputs can not hold such a number. Names that are columns already add
    nothing, and neither do those that are known of no row.
    """
    found: dict[str, dict[str, float]] = {}
    for curve in curves:
        row, slash, name = curve.name.rpartition("/")
        if slash and len(curve.points) == 1 and name not in table.columns:
            found.setdefault(name, {})[row] = curve.points[0][1]
    rows = {label for label, _ in table.rows}
    added = {name: values for name, values in found.items() if rows & values.keys()}
    return replace(
        table,
        columns=(*table.columns, *added),
        rows=tuple(
            (label, (*cells, *(Cell(values.get(label)) for values in added.values()))) for label, cells in table.rows
        ),
    )


def _named(label: str, stages: Mapping[str, str]) -> str:
    model, at, setting = label.partition("@")
    stage = stages.get(model.rpartition("-")[2])
    return f"{stage}{at}{setting}" if stage is not None else label


def _is_table(data: JsonObject, rows: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the rows share a column, or nothing but them is there: else they are unrelated groups."""
    columns = [set(numbers) for numbers in rows.values()]
    return bool(set.intersection(*columns)) and not any(isinstance(v, dict) for v in _inner(data))


def _inner(data: JsonObject) -> Iterator[Json]:
    for label, value in data.items():
        if isinstance(value, dict) and label not in ("protocol", "settings"):
            yield from value.values()


def _numbers(value: Json) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {k: float(v) for k, v in value.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _facts(data: JsonObject) -> Iterator[tuple[str, str]]:
    for label in ("protocol", "settings"):
        value = data.get(label)
        if isinstance(value, dict):
            yield from ((name, _say(item)) for name, item in value.items() if item is not None)
        elif value is not None:
            yield label, _say(value)
    for label, value in data.items():
        if label not in ("protocol", "settings") and isinstance(value, (str, bool)):
            yield label, _say(value)


def _say(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_say(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_say(item) for item in value)
    return str(value)


def _table(title: str, rows: Mapping[str, Mapping[str, float]], facts: tuple[tuple[str, str], ...]) -> MetricTable:
    columns = tuple(dict.fromkeys(name for numbers in rows.values() for name in numbers))[:MAX_COLUMNS]
    baseline = next((label for label in rows if "bicubic" in label.lower()), None) if len(rows) > 1 else None
    labels = sorted(rows, key=lambda label: label != baseline)[:MAX_ROWS]
    best = {name: _best([rows[label].get(name) for label in labels], direction(name)) for name in columns}
    base = rows[baseline] if baseline is not None else {}
    made = []
    for label in labels:
        compared = base if label != baseline else {}
        made.append(
            (label, tuple(_cell(rows[label].get(name), compared.get(name), name, best[name]) for name in columns))
        )
    return MetricTable(title, columns, tuple(made), baseline, facts)


def _best(values: list[float | None], way: int) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if way == 0 or len(known) < 2:
        return None
    return max(known) if way > 0 else min(known)


def _cell(value: float | None, base: float | None, name: str, best: float | None) -> Cell:
    if value is None or not math.isfinite(value):
        return Cell(None)
    if base is None or not math.isfinite(base):
        return Cell(value, best=value == best)
    delta = value - base
    way = direction(name)
    return Cell(value, delta, None if way == 0 or delta == 0 else (delta > 0) == (way > 0), value == best)
