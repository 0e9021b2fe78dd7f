"""Distributions counted batch by batch: memory depends on the number of bins, never on the number of rows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.inspection import Names, Numbers

if TYPE_CHECKING:
    import pyarrow

    from degrade.ranges import Stated

BINS = 30
MOST_NAMES = 10
WHOLE = 4096  # whole numbers in a span up to this are counted one by one


@dataclass
class Counted:
    """A column of whole numbers of a small span, of names or of booleans: every value is counted."""

    name: str
    numeric: bool
    stated: Stated | None = None
    counts: Counter[Any] = field(default_factory=Counter)

    def add(self, column: pyarrow.Array) -> None:
        """Count the values of a batch; nulls (not applied) do not count."""
        import pyarrow.compute as pc

        for item in pc.value_counts(column.drop_null()).to_pylist():
            self.counts[item["values"]] += item["counts"]

    def result(self) -> Numbers | Names | None:
        """What was counted, None when there was no value."""
        if not self.counts:
            return None
        if self.numeric:
            return _whole(self.name, self.counts, self.stated)
        ordered = Counter({_text(value): count for value, count in self.counts.items()}).most_common()
        shown = dict(ordered[:MOST_NAMES])
        stated = self.stated.shares if self.stated is not None else {}
        return Names(self.name, shown, sum(count for _, count in ordered[MOST_NAMES:]), stated)


@dataclass
class Binned:
    """A column of numbers between `low` and `high`, counted in equal bins."""

    name: str
    low: float
    high: float
    stated: Stated | None = None
    counts: list[int] = field(default_factory=lambda: [0] * BINS)
    total: int = 0
    sum: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, column: pyarrow.Array) -> None:
        """Count the values of a batch; nulls (not applied) do not count."""
        import numpy as np

        values = column.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        if values.size:
            found, _ = np.histogram(values, bins=BINS, range=(self.low, self.high))
            self.counts = [have + int(new) for have, new in zip(self.counts, found, strict=True)]
            self.total += values.size
            self.sum += float(values.sum())
            self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))

    def result(self) -> Numbers | None:
        """What was counted, None when there was no value."""
        if not self.total:
            return None
        mean = self.sum / self.total
        return Numbers(
            self.name, self.low, self.high, tuple(self.counts), self.least, self.most, mean, _limits(self.stated)
        )


def distribution(name: str, kind: pyarrow.DataType, span: tuple[Any, Any] | None, stated: Stated | None) -> Any:
    """The counter for a column of Arrow type `kind` whose values lie in `span` (None: no value)."""
    import pyarrow

    limits = _limits(stated)
    if pyarrow.types.is_integer(kind) and span is not None and span[1] - span[0] <= WHOLE:
        return Counted(name, True, stated)
    if (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)) and span is not None:
        low, high = (min(span[0], limits[0]), max(span[1], limits[1])) if limits else span
        room = 0.0 if high > low else (abs(low) or 1.0) / 2
        return Binned(name, float(low) - room, float(high) + room, stated)
    return Counted(name, False, stated)


def _whole(name: str, counts: Counter[int], stated: Stated | None) -> Numbers:
    """Whole numbers in bins of one step (the largest that meets them all: odd sizes have 2), or of several steps."""
    limits = _limits(stated)
    least, most = min(counts), max(counts)
    low, high = (min(least, int(limits[0])), max(most, int(limits[1]))) if limits else (least, most)
    step = math.gcd(*(value - low for value in counts), high - low) or 1
    step *= math.ceil(((high - low) // step + 1) / (2 * BINS))
    bins = [0] * ((high - low) // step + 1)
    for value, count in counts.items():
        bins[(value - low) // step] += count
    total = sum(bins)
    mean = sum(value * count for value, count in counts.items()) / total
    return Numbers(name, low, low + step * len(bins), tuple(bins), least, most, mean, limits)


def _limits(stated: Stated | None) -> tuple[float, float] | None:
    if stated is None or stated.low is None or stated.high is None:
        return None
    return stated.low, stated.high


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
