"""A gang on this machine: one process for each rank, watched over by the driver.

No rank outlives another or the driver: when one dies or fails, the others are killed, and a rank whose driver is
gone ends itself. Starting again is the scheduler's part, which does it as for any lost unit; the stage goes on
from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from pipelines.executors import worker
from pipelines.executors.children import deaf_to_interrupts, end_with_driver
from pipelines.executors.task import Needs, Outcome, Seat, Task
from pipelines.failure import Failure
from pipelines.store.scratch import new_scratch

LOOK = 0.2  # seconds between looks at whether every rank is alive
FAREWELL = 1.0  # seconds in which the others may write down what they saw when one died
GRACE = 2.0  # seconds for which a rank keeps quiet whose end is not the one to tell: the first word ends the gang


def run_rank(text: str, seat: Seat) -> Outcome:
    """Run one rank of a gang in this process. One that lost its peers lets them speak first, a follower rank 0."""
    outcome = Outcome.from_text(worker.main(text, seat))
    failure = outcome.failure
    if failure is not None and (failure.type == "PeerLost" or (failure.interrupted and seat.rank)):
        time.sleep(GRACE)
    return outcome


class LocalGang:
    """The ranks of one task. `run` blocks until all have ended; `kill` may be called from another thread."""

    def __init__(self, task: Task, needs: Needs) -> None:
        self._text, self._title = task.to_text(), task.title
        self._ranks, self._needs = task.ranks, needs
        self._processes: list[SpawnProcess] = []
        self._lock = threading.Lock()
        self._killed = False

    def run(self) -> Outcome:
        """Start all ranks and return rank 0's outcome, or the failure that ended the gang."""
        folder = new_scratch(Path(tempfile.gettempdir()) / f"sharpline-gang-{os.getuid()}")
        try:
            return self._watch(self._start(f"file://{folder / 'meet'}"))
        finally:
            self.kill()
            for process in self._processes:
                process.join()
            shutil.rmtree(folder, ignore_errors=True)

    def kill(self) -> None:
        """End every rank at once."""
        with self._lock:
            self._killed = True
            for process in self._processes:
                process.kill()

    def _start(self, rendezvous: str) -> dict[int, Connection]:
        spawn = multiprocessing.get_context("spawn")
        lines: dict[int, Connection] = {}
        for rank in range(self._ranks):
            seat = Seat(rank, self._ranks, rendezvous, self._devices(rank))
            ours, theirs = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_rank_main, args=(self._text, seat, theirs), name=f"{self._title}:{rank}")
            with self._lock, deaf_to_interrupts():
                if self._killed:
                    break
                process.start()
                self._processes.append(process)
            theirs.close()  # or we would never see that the rank has let go of it
            lines[rank] = ours
        return lines

    def _devices(self, rank: int) -> tuple[str, ...]:
        first = int(rank * self._needs.gpus)
        return tuple(f"cuda:{first + i}" for i in range(math.ceil(self._needs.gpus)))

    def _watch(self, lines: dict[int, Connection]) -> Outcome:
        outcomes: dict[int, Outcome] = {}
        while len(outcomes) < self._ranks:
            gone = self._listen(lines, outcomes)
            failed = [o for o in outcomes.values() if o.failure is not None]
            if failed and not gone:
                time.sleep(LOOK)  # was it a rank that died, of which this one only felt the silence?
                gone = self._listen(lines, outcomes)
            if gone or len(lines) < self._ranks:
                time.sleep(FAREWELL)
                return self._died(min(gone, default=0))
            if failed:
                return failed[0]
        return outcomes[0]

    def _listen(self, lines: dict[int, Connection], outcomes: dict[int, Outcome]) -> set[int]:
        """Take what ranks say; returns those that ended without a word."""
        waiting = {line: rank for rank, line in lines.items() if rank not in outcomes}
        ended = {rank for rank in waiting.values() if self._processes[rank].exitcode is not None}
        for line in wait(list(waiting), timeout=LOOK):
            assert isinstance(line, Connection)
            with contextlib.suppress(EOFError, OSError):
                outcomes[waiting[line]] = Outcome.from_text(line.recv())
        return ended - outcomes.keys()

    def _died(self, rank: int) -> Outcome:
        code = self._processes[rank].exitcode if rank < len(self._processes) else None
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        message = f"rank {rank} of {self._ranks} died ({how}: killed, or out of memory)"
        return Outcome.failed(Failure("lost", "WorkerDied", message))


def _rank_main(text: str, seat: Seat, line: Connection) -> None:
    end_with_driver()
    line.send(run_rank(text, seat).to_text())
