"""Stages that break in every place where a stage can break."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipelines.stage import (
    Artifact,
    Config,
    Context,
    Execution,
    Extendable,
    Input,
    InputFacets,
    ListedFile,
    Listing,
    Output,
    Partition,
    PartitionResult,
    Source,
    SourceFile,
    Stage,
)

MODULE = "tests.support.hostile_stages"
AFTER = {"after": Input("metrics", "only for the order", many=True, optional=True)}


class Hostile(Stage):
    """One unit that fails at a place of choice; `flag` is touched when it runs."""

    name = f"{MODULE}:Hostile"
    inputs = AFTER

    class Config(Config):
        at: Literal["", "exit", "facet", "meta", "outputs", "nothing written"] = ""
        flag: Execution[str] = ""
        seconds: Execution[float] = 0.0
        n: int = 0

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        if config.at == "outputs" and Path(config.flag).exists():
            raise ZeroDivisionError("outputs broke")
        return {"out": Output("metrics")}

    def run(self, ctx: Context) -> None:
        at, out = ctx.config.at, ctx.out["out"]
        time.sleep(ctx.config.seconds)
        if ctx.config.flag:
            Path(ctx.config.flag).touch()
        if at == "exit":
            sys.exit("told to exit")
        if at == "facet":
            out.facet(role=object())  # type: ignore[arg-type]
        if at == "nothing written":
            return
        meta: Any = {"when": object()} if at == "meta" else None
        out.path("metrics.json", meta=meta).write_text("{}")


class Parts(Stage):
    """Partitions whose making, or end, fails at a place of choice."""

    name = f"{MODULE}:Parts"
    inputs = AFTER

    class Config(Config):
        at: Literal["", "partitions", "twins", "finish", "params", "store"] = ""
        n: int = 3
        seconds: Execution[float] = 0.0

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        if config.at == "partitions":
            raise ZeroDivisionError("partitions broke")
        if config.at == "params":
            return [Partition("0", {"rate": object()})]  # type: ignore[dict-item]
        if config.at == "twins":
            return [Partition(str(max(1, i))) for i in range(config.n, -1, -1)]
        return [Partition(str(i)) for i in range(config.n)]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        time.sleep(ctx.config.seconds)
        ctx.out["out"].path(f"{partition.id}.txt").write_text(partition.id)

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        if ctx.config.at == "finish":
            raise ZeroDivisionError("finish broke")
        if ctx.config.at == "store":
            ctx.part_file(parts[0].entries["out"][0]).unlink()
        super().finish(ctx, parts)


class Folder(Stage):
    """Every file of a folder. Listing breaks on a file called ``broken``; hashing takes `seconds` a file."""

    name = f"{MODULE}:Folder"

    class Config(Config):
        files: Source
        seconds: Execution[float] = 0.0
        at: Execution[Literal["", "hash_sources"]] = ""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    @classmethod
    def list_sources(cls, config: Config) -> Mapping[str, Listing]:
        files = sorted(Path(config.files).iterdir())
        if any(file.name == "broken" for file in files):
            raise ZeroDivisionError("list_sources broke")
        return {"files": Listing(tuple(ListedFile(f.name, f.stat().st_size, "0", str(f)) for f in files))}

    @classmethod
    def hash_sources(cls, config: Config, listings: Mapping[str, Listing]) -> Mapping[str, Sequence[SourceFile]]:
        if config.at == "hash_sources":
            raise ZeroDivisionError("hash_sources broke")
        files = listings["files"].files
        time.sleep(config.seconds * len(files))
        return {"files": [SourceFile(f.name, f.size, f.name.encode().hex().zfill(64), f.location) for f in files]}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [Partition(file.name, {"sha256": file.sha256}) for file in sources["files"]]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        ctx.out["out"].path(partition.id).write_text(str(partition.params["sha256"]))

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        ctx.out["out"].path("names.txt").write_text(" ".join(file.name for file in ctx.sources["files"]))


class Halves(Folder):
    """The same folder, hashed differently: two members a file."""

    name = f"{MODULE}:Halves"

    @classmethod
    def hash_sources(cls, config: Folder.Config, listings: Mapping[str, Listing]) -> Mapping[str, Sequence[SourceFile]]:
        return {
            "files": [
                SourceFile(f"{f.name}-{half}", 1, f"{half}".zfill(64), f.location, half)
                for f in listings["files"].files
                for half in (1, 2)
            ]
        }


class Nested(Stage):
    """A trainer whose horizon lies in a section of its config."""

    name = f"{MODULE}:Nested"
    code_policy = "advisory"

    class Config(Config):
        class Training(Config):
            steps: Extendable[int] = 4

        training: Training = Training()
        die_at: Execution[int | None] = None

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    def run(self, ctx: Context) -> None:
        found = ctx.checkpoints.latest(ctx.config.training.steps)
        for step in range(found[0] if found else 0, ctx.config.training.steps):
            if step == ctx.config.die_at:
                raise RuntimeError("told to die")
            folder = ctx.scratch / str(step + 1)
            folder.mkdir()
            (folder / "state").write_text(str(step + 1))
            ctx.checkpoints.save(step + 1, folder)
        ctx.out["out"].path("metrics.json").write_text(str(ctx.config.training.steps))
