"""One stage config that uses every feature of typed configs, and everything hashed from it.

``python -m tests.support.maximal`` prints the vectors of tests/pipelines/golden/keys.json. Stores outlive
releases: a vector that changes is a new key format, never an edit of the golden file.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from pipelines.artifact import Entry, Manifest
from pipelines.canonical import JsonObject
from pipelines.keys import family, lineage, partition_key, source_identity, stage_key, stage_payload
from pipelines.stage import (
    Absent,
    Config,
    Execution,
    Extendable,
    Input,
    ListedFile,
    Listing,
    Partition,
    Read,
    Source,
    Stage,
)


class Mode(StrEnum):
    HR = "hr"
    LR = "lr"


class Optimizer(Config):
    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    fused: Execution[bool] = False
    eps: Annotated[float, Absent(1)] = 1.0


class Blur(Config):
    kind: Literal["blur"] = "blur"
    sigma: float | None = None


class Noise(Config):
    kind: Literal["noise"] = "noise"
    level: float = 1.0


Step = Annotated[Blur | Noise, pydantic.Field(discriminator="kind")]


class MaximalConfig(Config):
    scale: int = 4
    strength: float = 1.0
    tiny: float = 1e-300
    title: str = "Zürich Å 図"
    mode: Mode = Mode.HR
    flag: bool = True
    nothing: int | None = None
    optimizer: Optimizer = Optimizer()
    chain: list[Step] = [Blur(sigma=0.5), Noise()]
    table: dict[str, Optimizer] = {"b": Optimizer(), "a": Optimizer(learning_rate=1)}
    milestones: tuple[int, ...] = (100, 200)
    steps: Extendable[int] = 1000
    photos: Source = "/data/photos"
    extra: list[Source] = []
    log_every: Execution[int] = 50
    prefetch: Execution[int] | None = None
    added_later: Annotated[int, Absent(0)] = 0
    added_model: Annotated[Optimizer | None, Absent(None)] = None


class Maximal(Stage):
    name: ClassVar[str] = "maximal"
    version: ClassVar[int] = 3
    Config = MaximalConfig
    inputs = {"images": Input("images"), "models": Input("model", many=True), "teacher": Input("model", optional=True)}


INPUTS: dict[str, str | list[str]] = {"images": "a" * 64, "models": ["c" * 64, "b" * 64]}
LISTING = Listing((ListedFile("b/ü.png", 7, "1699", "/x/b/ü.png"), ListedFile("a\n.png", 5, "etag-1", "s3://x/a")))
READS = (Read("images", "a.png", "d" * 64, "pack-0.tar", 512, 5), Read("images", "b.png", "e" * 64, "pack-1.tar", 0, 7))
PARTITION = Partition("shard-00003", {"bucket": 3, "of": 8}, READS, weight=2.0)
MANIFEST = Manifest(
    kind="samples",
    facets={"role": "pairs", "scale": 4, "value_range": None, "lossless": True, "gamma": 2.2},
    entries=(
        Entry("shard-00001.tar", "2" * 64, 20),
        Entry("shard-00000.tar", "1" * 64, 10, meta={"samples": 3}),
        Entry("index.parquet", "3" * 64, 30, derived=True),
    ),
    refs={"autoencoder": "f" * 64},
)


def payload_of(config: MaximalConfig) -> JsonObject:
    return stage_payload(Maximal, config, INPUTS, {"photos": source_identity(LISTING)}, "9" * 64)


def vectors() -> dict[str, Any]:
    """Every frozen digest, from the payload of the maximal config down."""
    payload = payload_of(MaximalConfig())
    return {
        "payload": payload,
        "key": stage_key(payload),
        "family": family(payload),
        "lineage": lineage(Maximal, MaximalConfig(), payload),
        "partition": partition_key(family(payload), PARTITION),
        "manifest": MANIFEST.digest,
        "listing": LISTING.signature,
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=2, ensure_ascii=False))
