"""How an interrupted run ends: trainings are asked to save and waited for, all else ends at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from pipelines.building import Building, Unit
from pipelines.errors import StoreError
from pipelines.executors.stopping import ask_to_stop
from pipelines.executors.task import Outcome
from pipelines.flight import Flight
from pipelines.standing import Standings

log = logging.getLogger("sharpline.scheduler")

WAIT = 0.25  # seconds between looks at whether the time is over


def part(
    flight: Flight,
    buildings: Mapping[str, Building],
    grace: float,
    standings: Standings,
    ended: Callable[[int, Outcome], None],
    drop: Callable[[str], None],
) -> None:
    """Let the units that look at `ctx.stopping` save, for `grace` seconds, and take what still comes.

    `ended` is told of units that end in any other way than by stopping; `drop` gives up the building of one that
    stopped. A KeyboardInterrupt meanwhile is raised: then nothing is waited for.
    """
    for building in buildings.values():
        building.stop()
    for ticket, building, unit in flight.units:
        if not _ask(building, unit, grace, standings):
            flight.cancel(ticket)
    until = time.monotonic() + grace
    while flight and (left := until - time.monotonic()) > 0:
        for ticket, outcome in flight.wait(min(WAIT, left)):
            failure = outcome.failure
            if failure is None or not failure.interrupted:
                ended(ticket, outcome)
            elif (stopped := flight.land(ticket)) is not None:
                stopped.heard(ticket, outcome)
                drop(stopped.stage.name)
                standings.skip(stopped.stage.name, f"interrupted: {failure.message}")


def _ask(building: Building, unit: Unit, grace: float, standings: Standings) -> bool:
    """Whether the unit was asked, and will be waited for."""
    name = building.stage.name
    if unit.kind != "run" or not grace:
        return False
    try:
        if ask_to_stop(building.drive.store.attempt(building.identity.key, building.claim.attempt)):
            standings.emit("stage.stopping", name, seconds=grace)
            return True
    except StoreError as error:  # it could not save there either
        log.warning("%s: could not be asked to stop: %s", name, error)
    return False
