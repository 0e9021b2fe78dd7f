"""How fast something goes and when it will be done, from irregular (time, done) samples."""

from __future__ import annotations

import math


class Rate:
    """A rate that forgets: progress made over time spent, both fading with the time constant `tau` (seconds).

    Dividing two faded sums, instead of fading single quotients, keeps bursts (ten partitions that end in
    one instant) from throwing the estimate about, and a stall pulls it down although no sample arrives.
    The first sample is only a baseline, so work that a resumed stage found done counts as no speed.
    """

    def __init__(self, tau: float = 45.0) -> None:
        self.tau = tau
        self._last: tuple[float, float] | None = None
        self._work = 0.0
        self._spent = 0.0
        self._seen = 0.0

    def add(self, now: float, done: float) -> None:
        """Take the sample that `done` units were finished at `now`. Going backwards starts afresh."""
        if self._last is None or done < self._last[1]:
            self._last, self._work, self._spent, self._seen = (now, done), 0.0, 0.0, 0.0
            return
        then, before = self._last
        elapsed = max(0.0, now - then)
        fade = math.exp(-elapsed / self.tau)
        self._work = self._work * fade + (done - before)
        self._spent = self._spent * fade + elapsed
        self._seen += elapsed
        self._last = (max(now, then), done)

    def per_second(self, now: float) -> float | None:
        """Units a second as of `now`; None until half a second of progress was seen."""
        if self._last is None or self._seen < 0.5 or self._work <= 0:
            return None
        # Waiting no longer than a usual step is no stall, so only what exceeds it slows the estimate.
        usual = self._spent / self._work
        stalled = max(0.0, now - self._last[0] - usual)
        return self._work / (self._spent + stalled)

    def eta(self, now: float, total: float) -> float | None:
        """Seconds from `now` until `total`, or None when that cannot be said."""
        speed = self.per_second(now)
        if speed is None or self._last is None:
            return None
        then, done = self._last
        credit = min(max(0.0, now - then), 1.0 / speed)
        return max(0.0, (total - done) / speed - credit)
