"""The teacher's training, which sends a signal to a process of choice after one of its steps, and goes on slowly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipelines.stage import Context, Execution
from stages.methods.resshift import ResShiftConfig, TrainResShift


class InterruptingConfig(ResShiftConfig):
    trace: Execution[str] = ""
    """A file that gets a line for every finished step of rank 0."""
    at: Execution[int] = 0
    """The step after which the signal is sent; 0 for never."""
    sender: Execution[int] = 0
    """The rank that sends it."""
    number: Execution[int] = signal.SIGINT
    pid: Execution[int] = 0
    """Whom it is sent to; 0 for the sender itself."""
    pause: Execution[float] = 0.0
    """Seconds between steps from then on."""


class Interrupting(TrainResShift):
    name = "tests.support.interrupted_training:Interrupting"
    Config = InterruptingConfig

    def run(self, ctx: Context) -> None:
        config, told = ctx.config, ctx.progress

        def after_a_step(done: float, total: float, unit: str = "") -> None:
            told(done, total, unit)
            if ctx.rank == 0:
                with Path(config.trace).open("a") as trace:
                    trace.write(f"{done:.0f}\n")
            if ctx.rank == config.sender and done == config.at:
                os.kill(config.pid or os.getpid(), config.number)
            if config.at and done >= config.at:
                time.sleep(config.pause)

        ctx.progress = after_a_step  # type: ignore[method-assign]
        super().run(ctx)
