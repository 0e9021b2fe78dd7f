"""``--executor local``: the same plan without Ray.

Partitions run in a process pool (spawned, so that nothing of the driver leaks into them); a single unit
(`run`, `finish`) runs in a thread of this process, where a debugger can reach it; the ranks of a gang are
processes of their own.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pipelines.executors import worker
from pipelines.executors.children import deaf_to_interrupts, end_with_driver
from pipelines.executors.gang import LocalGang
from pipelines.executors.task import Needs, Outcome, Task
from pipelines.failure import Failure


class LocalExecutor:
    """Units as processes and threads of this machine. `cpus` defaults to the cores this process may use."""

    name = "local"

    def __init__(self, cpus: int | None = None) -> None:
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._tickets = itertools.count()
        self._done: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        self._pool: ProcessPoolExecutor | None = None
        self._gangs: dict[int, LocalGang] = {}
        self._cancelled: set[int] = set()

    def capacity(self) -> Mapping[str, float]:
        gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            gpus = min(gpus, len([v for v in visible.split(",") if v.strip()]))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return {"CPU": float(self._cpus), "GPU": float(gpus), "memory": float(memory)}

    def nodes(self) -> Sequence[Mapping[str, float]]:
        return [self.capacity()]

    def submit(self, task: Task, needs: Needs) -> int:
        ticket = next(self._tickets)
        text = task.to_text()
        if task.kind == "partition":
            self._submit_process(ticket, text)
        elif task.ranks > 1:
            gang = self._gangs[ticket] = LocalGang(task, needs)
            threading.Thread(target=self._run_gang, args=(ticket, gang), name=task.title, daemon=True).start()
        else:
            threading.Thread(target=self._run_here, args=(ticket, text), name=task.title, daemon=True).start()
        return ticket

    def _run_here(self, ticket: int, text: str) -> None:
        self._done.put((ticket, Outcome.from_text(worker.main(text))))

    def _run_gang(self, ticket: int, gang: LocalGang) -> None:
        try:
            outcome = gang.run()
        except Exception as error:  # without an outcome the driver would wait for ever
            outcome = Outcome.failed(Failure.from_exception(error))
        self._gangs.pop(ticket, None)
        self._done.put((ticket, outcome))

    def _submit_process(self, ticket: int, text: str) -> None:
        pool = self._pool
        if pool is None:
            spawn = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(self._cpus, mp_context=spawn, initializer=end_with_driver)
            self._pool = pool
        try:
            with deaf_to_interrupts():
                future = pool.submit(worker.main, text)
        except BrokenProcessPool:
            self._replace(pool)
            self._submit_process(ticket, text)
            return
        future.add_done_callback(lambda done: self._done.put((ticket, self._outcome(done, pool))))

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """The next unit gets a new pool, unless another unit of the broken one has seen to that already."""
        if self._pool is broken:
            self._pool = None

    def _outcome(self, future: Future[str], pool: ProcessPoolExecutor) -> Outcome:
        if future.cancelled():
            return Outcome.failed(Failure("lost", "Cancelled", "the unit was cancelled"))
        error = future.exception()
        if error is None:
            return Outcome.from_text(future.result())
        if isinstance(error, BrokenProcessPool):
            self._replace(pool)
            message = "a worker process died (killed, or out of memory)"
            return Outcome.failed(Failure("lost", "WorkerDied", message))
        return Outcome.failed(Failure.from_exception(error))

    def wait(self, timeout: float) -> Sequence[tuple[int, Outcome]]:
        ended: list[tuple[int, Outcome]] = []
        try:
            ended.append(self._done.get(timeout=timeout))
            while True:
                ended.append(self._done.get_nowait())
        except queue.Empty:
            return [(ticket, outcome) for ticket, outcome in ended if ticket not in self._cancelled]

    def cancel(self, ticket: int) -> None:
        self._cancelled.add(ticket)
        gang = self._gangs.get(ticket)
        if gang is not None:
            gang.kill()

    def close(self) -> None:
        """Kill all processes. Threads of this process end with it: what they leave behind is resumable."""
        for gang in list(self._gangs.values()):
            gang.kill()
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
