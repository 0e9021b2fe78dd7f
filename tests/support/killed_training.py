"""A spec that runs in a process of its own and kills it (SIGKILL) at a chosen moment of its training."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MOMENTS: Final = ("weights", "half a file", "no record", "record", "metrics")
"""Weights updated and averages not; a state's file half written; its files stored without the record that makes
them a state; right after that record; right after a line of metrics."""


def run_killed(spec: Path, moment: str, step: int) -> int:
    """Run `spec` without Ray until `moment` at the first such step >= `step`; the exit code (-9 when killed).

    Processes fork from a server that has imported everything: cheap, and no thread of this process is copied.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["stages.methods.resshift", "stages.training.loop", "stages.models.resshift", "pipelines.run"]
    )
    process = context.Process(target=_main, args=(str(spec), moment, step))
    process.start()
    process.join(100)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def _main(spec: str, moment: str, step: int) -> None:
    from pipelines.graph import build_graph
    from pipelines.run import ExecutorChoice, run
    from pipelines.spec.load import load_spec
    from pipelines.store.store import open_store
    from tests.support.workspace import Told

    if moment:
        _arm(moment, step)
    loaded = load_spec(Path(spec), [])
    assert loaded.store is not None
    result = run(loaded, build_graph(loaded), open_store(loaded.store), Told(), executor=ExecutorChoice("local"))
    os._exit(0 if result.status == "ok" else 1)


def _arm(moment: str, step: int) -> None:
    import torch

    from pipelines.executors.context import UnitContext
    from pipelines.store.backends.local import LocalObjects
    from stages.training.ema import Ema
    from stages.training.loop import Trainer

    now = [0]
    step_once, save, update = Trainer._step, torch.save, Ema.update
    put, metrics = LocalObjects.put_if_absent, UnitContext.metrics

    def counting(self: Trainer) -> None:
        now[0] = self.state.step + 1
        step_once(self)

    def die_if_due() -> None:
        if now[0] >= step:
            os.kill(os.getpid(), signal.SIGKILL)

    def half(data: Any, path: Path) -> None:
        save(data, path)
        if now[0] >= step:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        die_if_due()

    def record(self: LocalObjects, key: str, data: bytes) -> bool:
        is_record = key.startswith("work/") and "/commits/" in key
        if is_record and moment == "no record":
            die_if_due()
        done = put(self, key, data)
        if is_record:
            die_if_due()
        return done

    def unaveraged(self: Ema) -> None:
        die_if_due()
        update(self)

    def observed(self: UnitContext, at: int, **values: float) -> None:
        metrics(self, at, **values)
        die_if_due()

    Trainer._step = counting  # type: ignore[method-assign]
    patches: dict[str, Callable[[], None]] = {
        "weights": lambda: setattr(Ema, "update", unaveraged),
        "half a file": lambda: setattr(torch, "save", half),
        "no record": lambda: setattr(LocalObjects, "put_if_absent", record),
        "record": lambda: setattr(LocalObjects, "put_if_absent", record),
        "metrics": lambda: setattr(UnitContext, "metrics", observed),
    }
    patches[moment]()
