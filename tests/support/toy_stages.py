"""Small torch-free stages for tests of the framework, used as ``tests.support.toy_stages:Upper``.

They work on texts: a ``samples`` artifact with facets ``{"role": "texts", "scale": …}`` and one entry a text.
Each covers one corner of the contract; every one is deterministic and takes no time unless asked to.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipelines.artifact import Facets
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
    Read,
    Resources,
    Source,
    SourceFile,
    Stage,
    StageError,
)

MODULE = "tests.support.toy_stages"


def texts(scale: int | None = None, doc: str = "one entry a text") -> Output:
    """An output slot of texts."""
    return Output("samples", doc, {"role": "texts"} | ({} if scale is None else {"scale": scale}))


def facet(inputs: InputFacets, slot: str, name: str) -> Any:
    """A facet of a single input slot, or None while it is not known."""
    facets = inputs.get(slot, {})
    return facets.get(name) if isinstance(facets, dict) else None


class Texts(Stage):
    """A source stage: every ``*.txt`` below a folder, one partition a file."""

    name = f"{MODULE}:Texts"

    class Config(Config):
        source: Source
        """Folder with the texts."""
        scale: int = Field(default=4, ge=1)
        """Stated as a facet of the output."""
        encoding: Literal["utf-8", "latin-1"] = "utf-8"

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"texts": texts(config.scale)}

    @classmethod
    def list_sources(cls, config: Config) -> Mapping[str, Listing]:
        folder = Path(config.source)
        if not folder.is_dir():
            raise StageError(f"source: expected a folder with texts, found none at {config.source}")
        files = sorted(folder.rglob("*.txt"))
        return {"source": Listing(tuple(cls._listed(folder, file) for file in files))}

    @staticmethod
    def _listed(folder: Path, file: Path) -> ListedFile:
        stat = file.stat()
        return ListedFile(file.relative_to(folder).as_posix(), stat.st_size, str(stat.st_mtime_ns), str(file))

    @classmethod
    def hash_sources(cls, config: Config, listings: Mapping[str, Listing]) -> Mapping[str, Sequence[SourceFile]]:
        def hashed(file: ListedFile) -> SourceFile:
            return SourceFile(
                file.name, file.size, hashlib.sha256(Path(file.location).read_bytes()).hexdigest(), file.location
            )

        return {"source": [hashed(file) for file in listings["source"].files]}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [
            Partition(
                str(index),
                {"name": file.name},
                (Read("source", file.name, file.sha256, file.location, file.offset, file.size),),
            )
            for index, file in enumerate(sources["source"])
        ]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        text = ctx.read(partition.reads[0]).decode(ctx.config.encoding)
        ctx.out["texts"].path(str(partition.params["name"])).write_text(text, "utf-8")


class Upper(Stage):
    """A partitioned stage: upper-cases every text, one partition an entry of the input."""

    name = f"{MODULE}:Upper"
    inputs = {"texts": Input("samples", "what to shout", {"role": "texts"})}

    class Config(Config):
        suffix: str = ""
        """Appended to every text."""
        only: tuple[str, ...] = ()
        """Names to take; empty for all."""
        delay: Execution[float] = Field(default=0.0, ge=0)
        """Seconds that a partition sleeps."""
        fail_at: str | None = None
        """Name of an entry at which to fail."""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"texts": texts(facet(inputs, "texts", "scale"))}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        entries = [entry for entry in inputs["texts"].manifest.entries if not entry.derived]
        chosen = [entry for entry in entries if not config.only or entry.name in config.only]
        return [
            Partition(
                str(index),
                {"name": entry.name},
                (Read("texts", entry.name, entry.sha256, entry.name, 0, entry.size),),
                weight=max(1.0, entry.size),
            )
            for index, entry in enumerate(chosen)
        ]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        name = str(partition.params["name"])
        if name == ctx.config.fail_at:
            raise StageError(f"{name}: told to fail here")
        time.sleep(ctx.config.delay)
        text = ctx.read(partition.reads[0]).decode() + ctx.config.suffix
        ctx.out["texts"].path(name).write_text(text.upper(), "utf-8")
        ctx.progress(1, 1, "texts")


class Join(Stage):
    """A `run` stage with two outputs: all texts as one, and their count."""

    name = f"{MODULE}:Join"
    inputs = {
        "texts": Input("samples", "what to join", {"role": "texts"}),
        "preface": Input("samples", "put before the rest", {"role": "texts"}, optional=True),
    }

    class Config(Config):
        separator: str = "\n"
        scale: int | None = None
        """When given, the texts have to be of this scale."""

    @classmethod
    def demands(cls, config: Config) -> Mapping[str, Facets]:
        return {} if config.scale is None else {"texts": {"scale": config.scale}}

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {
            "joined": texts(facet(inputs, "texts", "scale"), "a single entry"),
            "counts": Output("metrics", "sizes"),
        }

    def run(self, ctx: Context) -> None:
        parts: list[str] = []
        for slot in ("preface", "texts"):
            if slot in ctx.inputs:
                artifact = ctx.inputs[slot]
                names = [entry.name for entry in artifact.manifest.entries if not entry.derived]
                parts += [artifact.read(name).decode() for name in names]
        ctx.out["joined"].path("joined.txt").write_text(ctx.config.separator.join(parts), "utf-8")
        counts = {"texts": len(parts), "characters": sum(len(part) for part in parts)}
        ctx.out["counts"].path("metrics.json").write_text(json.dumps(counts, sort_keys=True))


class Collect(Stage):
    """A stage with a `many` slot: the bytes of each input, in order."""

    name = f"{MODULE}:Collect"
    inputs = {"of": Input("samples", "anything with texts", {"role": "texts"}, many=True)}

    class Config(Config):
        title: str = "collected"

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"report": Output("metrics", "bytes of each", {"role": "evaluation"})}

    def run(self, ctx: Context) -> None:
        ctx.log.info("collected %s", ", ".join(artifact.label for artifact in ctx.many["of"]))
        sizes = [artifact.manifest.size for artifact in ctx.many["of"]]
        ctx.out["report"].path("metrics.json").write_text(json.dumps(sizes, sort_keys=True))


class Noop(Stage):
    """Costs nothing; for long chains and wide graphs."""

    name = f"{MODULE}:Noop"
    inputs = {"after": Input("metrics", "only for the order", many=True, optional=True)}

    class Config(Config):
        n: int = 0
        quiet: Execution[bool] = True
        labels: dict[str, str] = Field(default_factory=dict)
        rate: float = 1e-4

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    def run(self, ctx: Context) -> None:
        ctx.out["out"].path("metrics.json").write_text(json.dumps({"n": ctx.config.n}))


class Fail(Stage):
    """Always fails, in the chosen way."""

    name = f"{MODULE}:Fail"
    inputs = {"texts": Input("samples", optional=True)}

    class Config(Config):
        how: Literal["user", "bug", "missing-output"] = "user"
        message: str = "the data is not what it should be"

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    def run(self, ctx: Context) -> None:
        if ctx.config.how == "user":
            raise StageError(ctx.config.message)
        if ctx.config.how == "bug":
            raise ZeroDivisionError(ctx.config.message)


class Schedule(Config):
    """A nested section: how the toy trainer's rate falls."""

    rate: float = Field(default=0.5, gt=0, le=1)
    warmup: int = Field(default=0, ge=0)
    milestones: tuple[int, ...] = ()


class Trainer(Stage):
    """Trains one number, a step at a time, with checkpoints: like a trainer in all but the networks."""

    name = f"{MODULE}:Trainer"
    inputs = {"texts": Input("samples", "training data", {"role": "texts"})}
    code_policy = "advisory"

    class Config(Config):
        steps: Extendable[int] = Field(default=10, ge=1)
        """Raising it continues the finished training."""
        optimizer: Schedule = Schedule()
        seed: int = 0
        clip: float | None = 1.0
        weights: Source | None = None
        """Where to start from, if not from nothing."""
        save_every: Execution[int] = Field(default=5, ge=1)
        """Steps between checkpoints."""
        delay: Execution[float] = 0.0
        """Seconds a step."""
        die_at: Execution[int | None] = None
        """Raise a bug after this step, once a checkpoint can be resumed from."""

        @model_validator(mode="after")
        def _warmup_is_shorter(self) -> Trainer.Config:
            if self.optimizer.warmup >= self.steps:
                raise ValueError("optimizer.warmup has to be shorter than steps")
            return self

    @classmethod
    def resources(cls, config: Config) -> Resources:
        return Resources(cpus=2, gpus=0)

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        facets: Facets = {"role": "sr", "family": "toy"}
        if (scale := facet(inputs, "texts", "scale")) is not None:
            facets["scale"] = scale
        return {"model": Output("model", "one number", facets)}

    def run(self, ctx: Context) -> None:
        step, value = 0, float(ctx.inputs["texts"].manifest.size + ctx.seed)
        if (found := ctx.checkpoints.latest(ctx.config.steps)) is not None:
            step, folder = found
            value = json.loads((folder / "state.json").read_text())["value"]
            ctx.log.info("goes on from step %d", step)
        started = step
        while step < ctx.config.steps:
            step += 1
            value = (value * ctx.config.optimizer.rate + step) % 1000.0
            time.sleep(ctx.config.delay)
            ctx.metrics(step, loss=value)
            ctx.progress(step, ctx.config.steps, "steps")
            if step % ctx.config.save_every == 0 or step == ctx.config.steps:
                self._save(ctx, step, value)
            if started == 0 and step == ctx.config.die_at:
                raise RuntimeError(f"told to die at step {step}")
        ctx.out["model"].path("weights.json").write_text(json.dumps({"value": value}))

    def _save(self, ctx: Context, step: int, value: float) -> None:
        folder = ctx.scratch / f"state-{step}"
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps({"value": value}))
        ctx.checkpoints.save(step, folder)


class Score(Stage):
    """Compares models, in a `many` slot, on texts."""

    name = f"{MODULE}:Score"
    inputs = {
        "models": Input("model", "what to compare", {"role": "sr"}, many=True),
        "texts": Input("samples", "on what", {"role": "texts"}),
    }

    class Config(Config):
        scale: int = 4
        """Demanded of models and texts alike."""

    @classmethod
    def demands(cls, config: Config) -> Mapping[str, Facets]:
        return {"models": {"scale": config.scale}, "texts": {"scale": config.scale}}

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"metrics": Output("metrics", "a score a model", {"role": "evaluation"})}

    def run(self, ctx: Context) -> None:
        scores = [json.loads(model.read("weights.json"))["value"] for model in ctx.many["models"]]
        ctx.out["metrics"].path("metrics.json").write_text(json.dumps(scores))


class Clock(Stage):
    """Declared reproducible, and is not: every build writes another number."""

    name = f"{MODULE}:Clock"

    class Config(Config):
        reproducible: bool = True
        """What the stage claims about itself."""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics", reproducible=config.reproducible)}

    def run(self, ctx: Context) -> None:
        ctx.out["out"].path("metrics.json").write_text(json.dumps({"now": time.time_ns()}))


class Mortal(Stage):
    """Kills its own process `deaths` times, as a lost worker would be, and then works."""

    name = f"{MODULE}:Mortal"

    class Config(Config):
        deaths: int = 1
        counter: Execution[str] = ""
        """A folder in which deaths are counted; it outlives the process."""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [Partition("only")]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        folder = Path(ctx.config.counter)
        died = len(list(folder.glob("death-*")))
        if died < ctx.config.deaths:
            (folder / f"death-{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        ctx.out["out"].path("metrics.json").write_text(json.dumps({"deaths": ctx.config.deaths}))


class Many(Stage):
    """Any number of partitions that do next to nothing."""

    name = f"{MODULE}:Many"

    class Config(Config):
        n: int = 100

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"out": Output("metrics")}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [Partition(str(i)) for i in range(config.n)]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        ctx.out["out"].path(f"{partition.id}.txt").write_text(partition.id)


class Shards(Stage):
    """Shards with an index of the whole: every partition writes a shard and a derived index, the end joins these."""

    name = f"{MODULE}:Shards"

    class Config(Config):
        n: int = 4
        delay: Execution[float] = 0.0
        """Seconds a partition."""
        mood: Execution[str] = ""
        """A file whose text, where there is one, finds its way into the shards: not what a stage should do."""

    @classmethod
    def outputs(cls, config: Config, inputs: InputFacets) -> Mapping[str, Output]:
        return {"texts": texts()}

    @classmethod
    def partitions(
        cls, config: Config, inputs: Mapping[str, Artifact], sources: Mapping[str, Sequence[SourceFile]]
    ) -> Sequence[Partition]:
        return [Partition(str(i)) for i in range(config.n)]

    def run_partition(self, ctx: Context, partition: Partition) -> None:
        time.sleep(ctx.config.delay)
        mood = Path(ctx.config.mood) if ctx.config.mood else None
        words = mood.read_text() if mood is not None and mood.is_file() else "calm"
        ctx.progress(1, 1)
        ctx.metrics(0, words=1)
        ctx.out["texts"].path(f"shard-{partition.id}.txt").write_text(f"shard {partition.id}: {words}\n" * 20)
        ctx.out["texts"].path(f"index-{partition.id}.txt", derived=True).write_text(f"index of {partition.id}")

    def finish(self, ctx: Context, parts: Sequence[PartitionResult]) -> None:
        super().finish(ctx, parts)
        lines = [ctx.part_file(entry).read_text() for part in parts for entry in part.entries["texts"] if entry.derived]
        ctx.out["texts"].path("index.txt", derived=True).write_text("\n".join(lines))
