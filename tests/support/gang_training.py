"""The teacher's training, of which rank 1 kills itself once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pipelines.stage import Context, Execution
from stages.methods.resshift import ResShiftConfig, TrainResShift


class MortalConfig(ResShiftConfig):
    flag: Execution[str] = ""
    """A file that is touched when rank 1 dies; none, or one that is there, and nobody does."""
    die_at: Execution[int] = 6


class Mortal(TrainResShift):
    name = "tests.support.gang_training:Mortal"
    Config = MortalConfig

    def run(self, ctx: Context) -> None:
        flag = Path(ctx.config.flag)
        if ctx.rank == 1 and ctx.config.flag and not flag.exists():

            def dying(done: float, total: float, unit: str = "") -> None:
                if done == ctx.config.die_at:
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

            ctx.progress = dying  # type: ignore[method-assign]
        super().run(ctx)
