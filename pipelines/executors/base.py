"""What the scheduler asks of an executor. Executors keep nothing durable: all results are in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pipelines.executors.task import Needs, Outcome, Task


class Executor(Protocol):
    """Runs units somewhere. A unit may run twice (a lost worker); everything it writes is create-if-absent."""

    name: str

    def capacity(self) -> Mapping[str, float]:
        """Total amounts by resource name (``CPU``, ``GPU``, ``memory`` in bytes, custom names)."""
        ...

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """The same for each machine: a unit, or one rank of a gang, runs on one."""
        ...

    def submit(self, task: Task, needs: Needs) -> int:
        """Start a unit; returns its ticket. The caller has checked that the resources are free."""
        ...

    def wait(self, timeout: float) -> Sequence[tuple[int, Outcome]]:
        """Units that ended, at least one unless `timeout` seconds pass. Lost workers are failures of kind ``lost``."""
        ...

    def cancel(self, ticket: int) -> None:
        """Stop a unit as soon as possible; its outcome no longer matters."""
        ...

    def close(self) -> None:
        """Stop everything and release what was started."""
        ...
