"""Stages that are asked to stop: one that listens, one that says it would and does not, one that never does."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipelines.stage import (
    Artifact,
    Config,
    Context,
    Execution,
    InputFacets,
    Interrupted,
    Output,
    Partition,
    SourceFile,
    Stage,
)

MODULE = "tests.support.polite_stages"


class Polite(Stage):
    """Trains one number and writes down every finished step; saves only at the end, or when it is asked to stop."""

    name = f"{MODULE}:Polite"
    code_policy = "advisory"

    class Config(Config):
        steps: int = 400
        manner: Execution[Literal["polite", "pretends", "rude"]] = "polite"
        delay: Execution[float] = 0.0
        trace: Execution[str] = ""
        """A file that gets a line for every finished step."""
        sigterm_at: Execution[int | None] = None
        """Sends itself SIGTERM in this step, should it begin with the first."""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    def run(self, ctx: Context) -> None:
        config: Polite.Config = ctx.config
        found = ctx.checkpoints.latest(config.steps)
        begun, value = (0, 1.0) if found is None else (found[0], float((found[1] / "value").read_text()))
        for step in range(begun + 1, config.steps + 1):
            if begun == 0 and step == config.sigterm_at:
                os.kill(os.getpid(), signal.SIGTERM)
            value = (value * 1.1 + 3.0 * step) % 1000.0
            time.sleep(config.delay)
            with Path(config.trace).open("a") as trace:
                trace.write(f"{step}\n")
            if config.manner != "rude" and ctx.stopping and config.manner == "polite":
                (ctx.scratch / "value").write_text(repr(value))
                ctx.checkpoints.save(step, ctx.scratch)
                ctx.log.warning("there is more to do")
                raise Interrupted(f"saved after step {step}")
        ctx.out["out"].path("value.json").write_text(json.dumps({"value": value}))


class Drained(Stage):
    """A partition whose process gets SIGTERM once, and whose code handles every Exception."""

    name = f"{MODULE}:Drained"

    class Config(Config):
        flag: Execution[str] = ""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [Partition("only")]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        assert not ctx.stopping
        try:
            if not Path(ctx.config.flag).exists():
                Path(ctx.config.flag).touch()
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
        except Exception:
            ctx.log.exception("handled")
        ctx.out["out"].path("done").write_text("done")
