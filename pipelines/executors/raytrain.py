"""A gang on Ray: Ray Train starts the ranks together, and starts all of them again when one is lost. Nothing else.

No checkpoint and no metric goes through Ray Train: trainer state is our own, so what Ray Train commits late, or
loses, cannot matter. Facts that shape this module (measured on Ray 2.60): the controller looks at its workers
every 2 s unless told otherwise; without a limit it waits for ever for a node that does not come back; it would
also retry an error of the stage, hence the callback, whose own error it never retries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import ray.util
from ray.train import get_context
from ray.train.collective import broadcast_from_rank_zero
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from pipelines.canonical import JsonObject
from pipelines.errors import StoreError
from pipelines.executors.gang import run_rank
from pipelines.executors.stopping import stop_asked
from pipelines.executors.task import Outcome, Seat, Task
from pipelines.failure import Failure
from pipelines.store.attempts import Attempt
from pipelines.store.scratch import new_scratch
from pipelines.store.store import open_store


class RankFailed(Exception):
    """A rank's outcome on its way through Ray Train, which takes exceptions for failures; its text is the message."""

    @cached_property
    def outcome(self) -> Outcome:
        return Outcome.from_text(str(self))


def fit(text: str, amounts: Mapping[str, float]) -> Outcome:
    """Run the gang of a task, each rank with `amounts` of resources, and return rank 0's outcome or why there is none.

    The failure of a gang that was lost once too often is `spent`: it was started again as often as it may be.
    """
    task = Task.from_text(text)
    folder = new_scratch(Path(tempfile.gettempdir()) / f"sharpline-gang-{os.getuid()}")
    limits = FailureConfig(
        max_failures=task.restarts, controller_failure_limit=task.restarts, max_preemption_failures=task.restarts
    )
    run = RunConfig(name="gang", storage_path=str(folder), failure_config=limits, callbacks=[OnlyTheLostAgain(text)])
    trainer: Any = DataParallelTrainer(  # its annotations are those of the version before
        _rank,
        train_loop_config={"task": text},
        scaling_config=ScalingConfig(
            num_workers=task.ranks, use_gpu=bool(amounts.get("GPU")), resources_per_worker=dict(amounts)
        ),
        run_config=cast(Any, run),
    )
    try:
        return Outcome.from_text(trainer.fit().return_value)
    except TrainingFailedError as error:
        return _reason(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rank(config: dict[str, str]) -> str:
    context = get_context()
    rank = context.get_world_rank()
    rendezvous = broadcast_from_rank_zero(_free_address() if rank == 0 else None)
    assert rendezvous is not None
    outcome = run_rank(config["task"], Seat(rank, context.get_world_size(), rendezvous))
    if outcome.failure is not None:
        raise RankFailed(outcome.to_text())
    return outcome.to_text()


def _free_address() -> str:
    """An address of this node where rank 0 may listen. Should another process take it first, the gang starts again."""
    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


class OnlyTheLostAgain(UserCallback):
    """Seen by the controller after a rank has failed: says so in the log, and stops where trying again is no use."""

    def __init__(self, text: str) -> None:
        self._text = text

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        outcomes = {rank: _outcome(error) for rank, error in worker_exceptions.items()}
        for rank, outcome in outcomes.items():
            failure = outcome.failure
            assert failure is not None
            if not failure.retryable or (failure.interrupted and self._run_ends()):
                raise RankFailed(outcome.to_text())
            self._log(f"rank {rank} was lost ({failure.type}: {failure.message}); Ray Train starts all ranks again")

    def _log(self, message: str) -> None:
        task = Task.from_text(self._text)
        row: JsonObject = {"time": round(time.time(), 3), "level": "WARNING", "logger": f"sharpline.{task.stage}"}
        with contextlib.suppress(StoreError):
            self._attempt().append("log", [{**row, "message": message, "unit": task.title}])

    def _run_ends(self) -> bool:
        """Whether ranks stopped for the driver, and not for a SIGTERM of their own."""
        with contextlib.suppress(StoreError):
            return stop_asked(self._attempt())
        return False

    def _attempt(self) -> Attempt:
        task = Task.from_text(self._text)
        return open_store(task.store, create=False).attempt(task.key, task.attempt)


def _reason(error: TrainingFailedError) -> Outcome:
    """The failed outcome behind what `fit` raised."""
    stopped = getattr(error, "controller_failure", None)
    if isinstance(stopped, RankFailed):
        return stopped.outcome
    outcomes = [_outcome(found) for found in getattr(error, "worker_failures", {}).values()]
    first = outcomes[0] if outcomes else _outcome(stopped or error)
    assert first.failure is not None
    return replace(first, failure=replace(first.failure, spent=True))


def _outcome(error: Exception) -> Outcome:
    """What a rank said, or the loss of it."""
    said = getattr(error, "_base_exc", error)  # Ray Train wraps what a rank raises
    if isinstance(said, RankFailed):
        return said.outcome
    first = next((line.strip() for line in str(said).splitlines() if line.strip()), "")
    return Outcome.failed(Failure("lost", type(said).__name__, first))
