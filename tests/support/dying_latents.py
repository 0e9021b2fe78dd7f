"""``encode.latents`` whose run is killed once, with half of the second shard written."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipelines.stage import Context, Execution, Partition
from stages.encoding.config import LatentsConfig
from stages.encoding.latents import EncodeLatents


class DyingConfig(LatentsConfig):
    folder: Execution[str] = ""
    """Where shards that were begun leave a file; the second one ends the run."""


class Dying(EncodeLatents):
    name = "tests.support.dying_latents:Dying"
    Config = DyingConfig

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        told = ctx.progress

        def after_a_batch(done: float, total: float, unit: str = "") -> None:
            told(done, total, unit)
            begun = Path(ctx.config.folder)
            if 0 < done < total and (begun / "first").exists() and not (begun / "killed").exists():
                (begun / "killed").touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)  # ends with the driver

        ctx.progress = after_a_batch  # type: ignore[method-assign]
        super().run_partition(ctx, partition)
        (Path(ctx.config.folder) / "first").touch()
