"""Line charts as numbers: scales, ticks, thinning and smoothing. The template turns them into SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.report.model import Curve

WIDTH: Final = 480.0
HEIGHT: Final = 224.0
LEFT: Final = 56.0
RIGHT: Final = 12.0
TOP: Final = 10.0
BOTTOM: Final = 28.0
DASH: Final = 8.0
MAX_POINTS: Final = 400

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """One way to draw the chart: path data in view-box pixels, and the ticks of the value axis."""

    raw: str
    smooth: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve ready to draw. `points` are (step, value, smoothed) for the readout."""

    name: str
    linear: Scale
    log: Scale | None
    steps: tuple[Tick, ...]
    points: tuple[tuple[float, float, float], ...]
    first: float
    last: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_range: tuple[float, float] | None


def chart(curve: Curve) -> Chart:
    """Thin, smooth and scale `curve`, which has at least one point."""
    thin = thin_out(curve.points)
    smooth = smoothed(thin)
    xs = [x for x, _ in thin]
    x_range = _widen(min(xs), max(xs), 0.0)
    ys = [y for _, y in thin]
    y_range = _widen(*_robust(ys), 0.06)
    steps = nice_ticks(*x_range, 6) if len(thin) > 1 else xs
    positive = all(1e-30 < y < 1e30 for y in ys)
    log_range = _widen(math.log10(min(ys)), math.log10(max(ys)), 0.04) if positive else None
    return Chart(
        name=curve.name,
        linear=_scale(thin, smooth, x_range, y_range, log=False),
        log=_scale(thin, smooth, x_range, log_range, log=True) if log_range else None,
        steps=tuple(Tick(_x(v, x_range), short(v)) for v in steps),
        points=tuple((x, y, s) for (x, y), s in zip(thin, smooth, strict=True)),
        first=curve.points[0][1],
        last=curve.points[-1][1],
        x_range=x_range,
        y_range=y_range,
        log_range=log_range,
    )


def thin_out(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` points that keep every bucket's lowest and highest value: spikes stay visible."""
    if len(points) <= limit:
        return list(points)
    buckets = limit // 2 - 1
    inner, kept = points[1:-1], [points[0]]
    for i in range(buckets):
        bucket = inner[i * len(inner) // buckets : (i + 1) * len(inner) // buckets]
        if bucket:
            kept += sorted({min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])})
    return [*kept, points[-1]]


def smoothed(points: Sequence[Point]) -> list[float]:
    """A centred mean with a triangular window of about a tenth of the curve; ends use what there is."""
    reach = max(1, len(points) // 20)
    values = [y for _, y in points]
    if len(values) < 8:
        return values
    result = []
    for i in range(len(values)):
        near = range(max(0, i - reach), min(len(values), i + reach + 1))
        weights = [reach + 1 - abs(i - j) for j in near]
        result.append(sum(w * values[j] for w, j in zip(weights, near, strict=True)) / sum(weights))
    return result


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round values inside [low, high], steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def short(value: float) -> str:
    """An axis number in few characters: ``0.05``, ``1.2k``, ``3e-5``."""
    size = abs(value)
    if value == 0:
        return "0"
    if size < 1e-3 or size >= 1e9:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{value / unit:.4g}{name}"
    return f"{value:.4g}"


def _scale(
    points: Sequence[Point], smooth: Sequence[float], xs: tuple[float, float], ys: tuple[float, float], *, log: bool
) -> Scale:
    def height(value: float) -> float:
        return _y(math.log10(value) if log else value, ys)

    raw = [(_x(x, xs), height(y)) for x, y in points]
    calm = [(_x(x, xs), height(s)) for (x, _), s in zip(points, smooth, strict=True)]
    values = _log_ticks(*ys) if log else nice_ticks(*ys, 5)
    return Scale(_line(raw), _line(calm), tuple(Tick(height(v), short(v)) for v in values))


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them where few decades are shown; round values within a decade."""
    if high - low < 0.5:
        return [v for v in nice_ticks(10**low, 10**high, 5) if v > 0]
    factors = (1,) if high - low > 2.5 else (1, 2, 5)
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [f * 10.0**p for p in powers for f in factors if low <= math.log10(f * 10.0**p) <= high]
    return found[:: max(1, len(found) // 7)]


def _robust(values: Sequence[float]) -> tuple[float, float]:
    """The range, cut at the top when a few first values would flatten all others."""
    low, high = min(values), max(values)
    if len(values) < 40:
        return low, high
    ordered = sorted(values)
    most = ordered[int(len(ordered) * 0.98)]
    return low, most if high - low > 4 * (most - low) > 0 else high


def _widen(low: float, high: float, share: float) -> tuple[float, float]:
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    return low - (high - low) * share, high + (high - low) * share


def _x(value: float, span: tuple[float, float]) -> float:
    return round(LEFT + (value - span[0]) / (span[1] - span[0]) * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / (span[1] - span[0])
    return round(max(TOP - 4, HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)), 1)


def _line(points: Sequence[Point]) -> str:
    if len(points) == 1:  # a dash: a line of one point would not be seen
        ((x, y),) = points
        return f"M{x - DASH / 2:g} {y:g}h{DASH:g}"
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
