"""Distributions that values are tested against: a p-value each, and nearby wrong ones that a test must tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Uniform:
    """Continuous on [low, high]: Kolmogorov-Smirnov, and the gaps that the sample leaves at both ends."""

    low: float
    high: float

    def pvalue(self, values: Sequence[float]) -> float:
        sample = np.asarray(values, dtype=np.float64)
        if sample.min() < self.low or sample.max() > self.high:
            return 0.0
        width = self.high - self.low
        gaps = (1 - (sample.min() - self.low) / width, 1 - (self.high - sample.max()) / width)
        return 3 * min(stats.kstest(sample, stats.uniform(self.low, width).cdf).pvalue, *(g**sample.size for g in gaps))

    def wrong(self, count: int) -> Iterator[Uniform]:
        """A tenth too wide at either end or too narrow; 150 values leave no gap of a tenth."""
        if count >= 150:
            step = 0.1 * (self.high - self.low)
            yield Uniform(self.low, self.high + step)
            yield Uniform(self.low - step, self.high)
            yield Uniform(self.low, self.high - step)


@dataclass(frozen=True)
class Weights:
    """Discrete, by weights: chi-square over cells of at least five, and each value's count by itself."""

    weights: Mapping[Hashable, float]

    def pvalue(self, values: Sequence[Hashable]) -> float:
        counts = Counter(values)
        if any(self.weights.get(value, 0) <= 0 for value in counts):
            return 0.0
        total = sum(self.weights.values())
        shares = np.array([weight / total for weight in self.weights.values() if weight > 0])
        seen = np.array([counts[value] for value, weight in self.weights.items() if weight > 0])
        tails = np.minimum(stats.binom.cdf(seen, len(values), shares), stats.binom.sf(seen - 1, len(values), shares))
        cells = _merged(seen, shares * len(values))
        chi = stats.chisquare(*cells).pvalue if cells.shape[1] > 1 else 1.0
        return float(2 * min(chi, 2 * len(shares) * tails.min()))

    def varied(self) -> bool:
        """Whether more than one value is possible."""
        return sum(weight > 0 for weight in self.weights.values()) > 1

    def wrong(self, count: int) -> Iterator[Weights]:
        """0.05 of the weight moved from the likeliest value to the least likely, or, where no value has so much, one
        value more; each where the sample is large enough to show it."""
        total = sum(self.weights.values())
        shares = {value: weight / total for value, weight in self.weights.items() if weight > 0}
        if not self.varied():
            return
        most, least = max(shares, key=lambda v: shares[v]), min(reversed(list(shares)), key=lambda v: shares[v])
        if shares[most] <= 0.05:
            if count * shares[most] > 30:
                yield Weights({**shares, ("one", "more"): shares[most]})
            return
        moved = {**shares, most: shares[most] - 0.05, least: shares[least] + 0.05}
        if count * sum((moved[v] - shares[v]) ** 2 / moved[v] for v in (most, least)) > 60:
            yield Weights(moved)


@dataclass(frozen=True)
class Constant:
    """One value, always."""

    value: object

    def pvalue(self, values: Sequence[object]) -> float:
        return float(all(value == self.value for value in values))

    def wrong(self, count: int) -> Iterator[Constant]:
        yield Constant(("not", self.value))


@dataclass(frozen=True)
class Like:
    """As another sample that was made in another way: two-sample Kolmogorov-Smirnov."""

    sample: np.ndarray

    def pvalue(self, values: Sequence[float]) -> float:
        return float(stats.ks_2samp(np.asarray(values, dtype=np.float64), self.sample).pvalue)

    def wrong(self, count: int) -> Iterator[Like]:
        """Everything a quarter larger."""
        if count >= 400:
            yield Like(self.sample * 1.25)


Law = Uniform | Weights | Constant | Like


def _merged(seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """[2, cells]: neighbours put together until at least five are expected in each cell."""
    cells: list[list[float]] = [[0.0, 0.0]]
    for count, mean in zip(seen, expected, strict=True):
        if cells[-1][1] >= 5:
            cells.append([0.0, 0.0])
        cells[-1][0] += count
        cells[-1][1] += mean
    if len(cells) > 1 and cells[-1][1] < 5:
        last = cells.pop()
        cells[-1] = [cells[-1][0] + last[0], cells[-1][1] + last[1]]
    return np.array(cells).T
