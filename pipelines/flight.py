"""The units of a run that are running now, and the resources that they occupy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from pipelines.building import Building, Unit
from pipelines.executors.base import Executor
from pipelines.executors.task import Outcome
from pipelines.ledger import Ledger

Means: TypeAlias = tuple[Executor, Ledger]


class Flight:
    """Units by ticket. The executor starts with the first unit: a run that finds all in the store needs none.

    `executor` is called once at most, and `begun` right after it, with both means, before anything runs.
    """

    def __init__(self, executor: Callable[[], Executor], begun: Callable[[Means], None]) -> None:
        self._start_executor, self._begun = executor, begun
        self._executor: Executor | None = None
        self._ledger: Ledger | None = None
        self._units: dict[int, tuple[Building, Unit]] = {}

    @property
    def means(self) -> Means:
        """The executor and the account of its resources, from the first unit on."""
        if self._executor is None or self._ledger is None:
            self._executor = self._start_executor()
            self._ledger = Ledger(self._executor.capacity(), self._executor.nodes())
            self._begun((self._executor, self._ledger))
        return self._executor, self._ledger

    def start(self, building: Building, unit: Unit) -> bool:
        """Start a unit if there is room for it now."""
        executor, ledger = self.means
        if not ledger.take(unit.needs):
            return False
        ticket = executor.submit(building.task(unit), unit.needs)
        building.started(unit, ticket)
        self._units[ticket] = (building, unit)
        return True

    def wait(self, timeout: float) -> Sequence[tuple[int, Outcome]]:
        """Tickets of units that ended, with their outcomes: to be landed, one by one."""
        return self.means[0].wait(timeout)

    def land(self, ticket: int) -> Building | None:
        """Take a unit that ended out of the account; None when it was cancelled before."""
        building, unit = self._units.pop(ticket, (None, None))
        if unit is not None:
            self.means[1].give(unit.needs)
        return building

    def cancel(self, ticket: int) -> None:
        """End a unit; its outcome no longer matters."""
        self.means[0].cancel(ticket)
        self.land(ticket)

    @property
    def units(self) -> Sequence[tuple[int, Building, Unit]]:
        """All that run, with their tickets."""
        return [(ticket, building, unit) for ticket, (building, unit) in self._units.items()]

    def __bool__(self) -> bool:
        """Whether anything runs."""
        return bool(self._units)

    def cancel_all(self) -> None:
        for ticket in list(self._units):
            self.cancel(ticket)

    def close(self) -> None:
        """Close the executor, if it was started."""
        if self._executor is not None:
            self._executor.close()
