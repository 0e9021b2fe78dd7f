"""The teacher's training, slowed down where asked to, of which rank 1 kills itself once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipelines.stage import Context, Execution
from stages.methods.resshift import ResShiftConfig, TrainResShift


class MortalConfig(ResShiftConfig):
    flag: Execution[str] = ""
    """A file that is touched when rank 1 dies; none, or one that is there, and nobody does."""
    die_at: Execution[int] = 6
    pause: Execution[float] = 0.0
    """Seconds after every step."""
    pids: Execution[str] = ""
    """A folder in which every rank writes the number of its process into a file with its rank's name."""


class Mortal(TrainResShift):
    name = "tests.support.gang_training:Mortal"
    Config = MortalConfig

    def run(self, ctx: Context) -> None:
        config, told = ctx.config, ctx.progress
        if config.pids:
            (Path(config.pids) / str(ctx.rank)).write_text(str(os.getpid()))
        dies = ctx.rank == 1 and config.flag and not Path(config.flag).exists()

        def after_a_step(done: float, total: float, unit: str = "") -> None:
            told(done, total, unit)
            time.sleep(config.pause)
            if dies and done == config.die_at:
                Path(config.flag).touch()
                os.kill(os.getpid(), signal.SIGKILL)

        ctx.progress = after_a_step  # type: ignore[method-assign]
        super().run(ctx)
