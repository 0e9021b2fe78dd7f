"""A stage that runs as a gang, without torch: its ranks meet at a socket and add up numbers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pipelines.stage import (
    Config,
    Context,
    Execution,
    Extendable,
    Input,
    InputFacets,
    Output,
    PeerLost,
    Stage,
    StageError,
)

MODULE = "tests.support.gang_stages"


class Gang(Stage):
    """Ranks that add up numbers, a step at a time, with checkpoints; rank 1 breaks at a place of choice."""

    name = f"{MODULE}:Gang"
    gang = True
    code_policy = "advisory"

    class Config(Config):
        steps: Extendable[int] = 6
        save_every: Execution[int] = 2
        delay: Execution[float] = 0.0
        flag: Execution[str] = ""
        """A file that is touched before rank 1 breaks, which happens only where it is not there yet."""
        at: Execution[int] = 5
        how: Execution[Literal["", "kill", "exit", "bug", "data"]] = ""
        accelerated: bool = False
        warn: Execution[bool] = False

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics", reproducible=not config.accelerated)}

    def run(self, ctx: Context) -> None:
        found = ctx.checkpoints.latest(ctx.config.steps)
        step, value = (0, 1.0) if found is None else (found[0], float((found[1] / "0").read_text()))
        ctx.log.info("begins at step %d", step)
        if ctx.config.warn:
            ctx.log.warning("rank %d warns", ctx.rank)
        with Table(ctx) as table:
            while step < ctx.config.steps:
                step += 1
                value = (value * 1.1 + table.add((ctx.rank + 1) * step)) % 1000.0
                time.sleep(ctx.config.delay)
                ctx.metrics(step, value=value, rank=ctx.rank)
                ctx.progress(step, ctx.config.steps, "steps")
                if step % ctx.config.save_every == 0:
                    self._save(ctx, step, value)
                if ctx.rank == 1 and step == ctx.config.at:
                    self._break(ctx.config)
        ctx.out["out"].path("value.json").write_text(json.dumps({"value": value, "rank": ctx.rank}))

    def _save(self, ctx: Context, step: int, value: float) -> None:
        folder = ctx.scratch / str(step)
        folder.mkdir()
        (folder / str(ctx.rank)).write_text(repr(value))  # a state of another rank cannot be gone on from
        ctx.checkpoints.save(step, folder)

    def _break(self, config: Gang.Config) -> None:
        if not config.how or (config.flag and Path(config.flag).exists()):
            return
        if config.flag:
            Path(config.flag).touch()
        if config.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if config.how == "exit":
            os._exit(3)
        if config.how == "bug":
            raise ZeroDivisionError("rank 1 broke")
        raise StageError("rank 1 found bad data")


class Fed(Gang):
    """A gang that refuses, where it states its outputs, to go without its optional input."""

    name = f"{MODULE}:Fed"
    inputs: ClassVar[Mapping[str, Input]] = {"fed": Input("metrics", optional=True)}

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        if "fed" not in inputs:
            raise StageError("connect fed")
        return super().outputs(config, inputs)


class Table:
    """Where ranks meet: rank 0 listens, the others sit down, and `add` gives all of them the sum over ranks."""

    def __init__(self, ctx: Context) -> None:
        self.rank, self.size = ctx.rank, ctx.world_size
        url = urlsplit(ctx.rendezvous)
        self.address = url.path if url.scheme == "file" else (url.hostname, url.port)
        self.seats: list[Connection] = []

    def __enter__(self) -> Table:
        if self.size > 1 and self.rank == 0:
            with Listener(self.address) as listener:
                self.seats = [listener.accept() for _ in range(self.size - 1)]
        elif self.size > 1:
            self.seats = [self._client()]
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self.seats:
            seat.close()

    def _client(self) -> Connection:
        for _ in range(600):
            try:
                return Client(self.address)
            except OSError:
                time.sleep(0.05)
        raise PeerLost("rank 0 does not listen")

    def add(self, number: float) -> float:
        try:
            if self.rank:
                self.seats[0].send(number)
                return float(self.seats[0].recv())
            total = sum([number, *(float(seat.recv()) for seat in self.seats)])
            for seat in self.seats:
                seat.send(total)
            return total
        except (OSError, EOFError) as error:
            raise PeerLost("the table is empty") from error
