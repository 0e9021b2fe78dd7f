"""Units as plain Ray tasks: an embedded local Ray by default, a cluster by address.

Facts that shape this module (measured on Ray 2.60): `ray.init` costs 5 to 15 s; infeasible requests wait for
ever; user exceptions are not retried and lost workers are, up to ``max_retries`` (0 here: the scheduler keeps
the count); a worker puts the driver's working folder on ``sys.path``, where a user's own ``stages/`` folder
would shadow ours, hence the empty folder.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import ClusterLost, UsageError
from pipelines.executors import worker
from pipelines.executors.task import Needs, Outcome, Task
from pipelines.failure import Failure
from pipelines.store.scratch import new_scratch

TRAIN_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a rank's working folder is that of any other unit
}
OBJECT_STORE_BYTES = 256 << 20  # results are short JSON; bytes go through our own store


class RayExecutor:
    """Runs units on Ray. `address` None starts Ray on this machine; `bundle` is a zip of code to ship."""

    name = "ray"

    def __init__(self, address: str | None = None, cpus: int | None = None, bundle: Path | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray: Any = ray
        self.name = "ray" if address is None else f"ray at {address}"
        self._embedded = address is None
        # the workers' working folder, which must stay; folders that killed drivers left go
        self._home = new_scratch(Path(tempfile.gettempdir()) / f"sharpline-ray-{os.getuid()}")
        try:
            with _started_from(self._home), _sigterm_as_it_was():
                self._init(address, cpus, bundle)
        except Exception as error:
            shutil.rmtree(self._home, ignore_errors=True)
            where = address or "this machine"
            raise ClusterLost(f"Ray could not be started or reached at {where}: {error}") from error
        self._enter = ray.remote(worker.main)
        self._enter_gang = ray.remote(_run_gang)
        self._tickets = itertools.count()
        self._tickets_by_ref: dict[Any, int] = {}
        self._refs: dict[int, Any] = {}

    def _init(self, address: str | None, cpus: int | None, bundle: Path | None) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if address is None:
            self._ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
            return
        runtime = {"working_dir": str(bundle)} if bundle else None
        self._ray.init(address=address, runtime_env=runtime, **quiet)

    def capacity(self) -> Mapping[str, float]:
        try:
            total: dict[str, float] = self._ray.cluster_resources()
        except Exception as error:
            raise ClusterLost(f"the Ray cluster does not answer: {error}") from error
        return total

    def nodes(self) -> Sequence[Mapping[str, float]]:
        try:
            return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        except Exception as error:
            raise ClusterLost(f"the Ray cluster does not answer: {error}") from error

    def submit(self, task: Task, needs: Needs) -> int:
        ticket = next(self._tickets)
        with _cluster_there():
            ref = self._start_gang(task, needs) if task.ranks > 1 else self._start(task, needs)
        self._refs[ticket] = ref
        self._tickets_by_ref[ref] = ticket
        return ticket

    def _start(self, task: Task, needs: Needs) -> Any:
        options: dict[str, Any] = {
            "name": task.title,
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "max_retries": 0,
            "resources": dict(needs.custom) or None,
        }
        if needs.memory:
            options["memory"] = needs.memory
        return self._enter.options(**options).remote(task.to_text())

    def _start_gang(self, task: Task, needs: Needs) -> Any:
        """A task that occupies nothing by itself and watches over the ranks, which occupy everything."""
        options = {"name": task.title, "num_cpus": 0, "max_retries": 0}
        return self._enter_gang.options(**options).remote(task.to_text(), needs.of_one_rank())

    def wait(self, timeout: float) -> Sequence[tuple[int, Outcome]]:
        if not self._tickets_by_ref:
            return []
        refs = list(self._tickets_by_ref)
        with _cluster_there():
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=timeout)
            if ready:
                more, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
                ready = list({*ready, *more})
        return [(self._forget(ref), self._outcome(ref)) for ref in ready]

    def _forget(self, ref: Any) -> int:
        ticket = self._tickets_by_ref.pop(ref)
        self._refs.pop(ticket, None)
        return ticket

    def _outcome(self, ref: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            return Outcome.from_text(self._ray.get(ref))
        except (errors.TaskCancelledError, errors.TaskUnschedulableError) as error:
            return Outcome.failed(Failure("lost", type(error).__name__, str(error)))
        except errors.OutOfMemoryError as error:
            return Outcome.failed(Failure("lost", "OutOfMemory", f"Ray killed the worker to save memory: {error}"))
        except (errors.LocalRayletDiedError, errors.NodeDiedError) as error:
            if self._embedded:  # the only node there is: every retry would end the same way
                raise ClusterLost(f"the Ray of this run went away: {_first_line(error)}") from error
            return Outcome.failed(Failure("lost", type(error).__name__, _first_line(error)))
        except (errors.WorkerCrashedError, errors.ObjectLostError) as error:
            return Outcome.failed(Failure("lost", type(error).__name__, _first_line(error)))
        except errors.RaySystemError as error:
            raise ClusterLost(f"the Ray cluster went away: {_first_line(error)}") from error
        except errors.RayError as error:
            return Outcome.failed(Failure("lost", type(error).__name__, _first_line(error)))

    def cancel(self, ticket: int) -> None:
        ref = self._refs.pop(ticket, None)
        if ref is not None:
            self._tickets_by_ref.pop(ref, None)
            with contextlib.suppress(Exception):
                self._ray.cancel(ref, force=True)

    def probe(self, path: Path, expected: bytes) -> list[str]:
        """Addresses of nodes that do not see the file `path` with `expected` in it: the store is not shared."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        check = self._ray.remote(_reads)
        blind = []
        for node in self._ray.nodes():
            if not node["Alive"]:
                continue
            strategy = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            ref = check.options(num_cpus=0, scheduling_strategy=strategy).remote(str(path), expected)
            if not self._ray.get(ref, timeout=60):
                blind.append(str(node["NodeManagerAddress"]))
        return blind

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._ray.shutdown()
        shutil.rmtree(self._home, ignore_errors=True)


def _run_gang(text: str, amounts: dict[str, float]) -> str:
    """Run a gang by Ray Train, which reads its settings where it is imported. Never raises."""
    os.environ.update(TRAIN_SETTINGS)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "60")
    try:
        from pipelines.executors.raytrain import fit

        return fit(text, amounts).to_text()
    except ImportError as error:
        message = (
            f"a gang on Ray takes Ray Train, which does not import here ({error}); "
            "install ray[train], or run with --executor local"
        )
        return Outcome.failed(Failure("user", "MissingLibrary", message)).to_text()
    except BaseException as error:  # also SystemExit: without an outcome the driver would wait for ever
        return Outcome.failed(Failure.from_exception(error)).to_text()


def _reads(path: str, expected: bytes) -> bool:
    try:
        return Path(path).read_bytes() == expected
    except OSError:
        return False


@contextlib.contextmanager
def _cluster_there() -> Iterator[None]:
    """Whatever Ray raises when it is asked to start or to watch a task means that it is gone."""
    try:
        yield
    except Exception as error:
        raise ClusterLost(f"the Ray cluster went away: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def _started_from(folder: Path) -> Iterator[None]:
    """Start Ray from an empty folder and without a script's folder: both would come before our packages."""
    try:
        before = os.getcwd()
    except OSError:
        before = "/"
    argv0 = sys.argv[0] if sys.argv else ""
    os.chdir(folder)
    sys.argv[:1] = [str(folder / "sharpline")]
    try:
        yield
    finally:
        sys.argv[:1] = [argv0]
        os.chdir(before)


@contextlib.contextmanager
def _sigterm_as_it_was() -> Iterator[None]:
    """Ray puts its own handler in the driver's place, by which SIGTERM would be a failure of the run."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:  # of that handler, while Ray starts
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def require_shared_store(executor: RayExecutor, root: Path) -> None:
    """Refuse a local store on a cluster whose nodes do not all read the same files there."""
    if len(executor.nodes()) < 2:
        return
    probe = root / "tmp" / f"probe-{os.getpid()}"
    probe.parent.mkdir(parents=True, exist_ok=True)
    token = os.urandom(16)
    probe.write_bytes(token)
    try:
        blind = executor.probe(probe, token)
    finally:
        probe.unlink(missing_ok=True)
    if blind:
        raise UsageError(
            f"the store {root} is a local folder, and {len(blind)} node(s) of the cluster do not see it "
            f"({', '.join(blind[:5])}); use a shared file system or store: s3://bucket/prefix"
        )
