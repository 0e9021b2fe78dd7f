"""What a report shows, as plain data: gathered by `view`, drawn by `render`. Nothing here touches a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pipelines.artifact import Facets
from pipelines.progress.board import Failure, Warned

RunStatus: TypeAlias = Literal["ok", "failed", "interrupted", "running", "empty"]
StageState: TypeAlias = Literal["built", "resumed", "reused", "running", "waiting", "failed", "skipped", "queued"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One observed value over steps: `points` are (step, value), finite, in step order."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG or JPEG as it will be embedded. `width` and `height` are those of the original, in pixels."""

    label: str
    data: bytes
    width: int
    height: int
    caption: str = ""
    mime: str = "image/png"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several renderings of one image, lowest quality first: lr, bicubic, models, hr. `step` is a trainer's."""

    name: str
    pictures: tuple[Picture, ...]
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures of one name over steps (samples during training), or pictures that stand alone."""

    name: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of a metric table. `delta` is against the baseline row; `better` says whether that is good."""

    value: float | None
    delta: float | None = None
    better: bool | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Rows by label, the baseline first. `columns` are metric names; `facts` are the protocol's settings."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    baseline: str | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of equal bins of [low, high]."""

    name: str
    low: float
    high: float
    counts: tuple[int, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class SampleSheet:
    """A few pairs out of a samples artifact, with the distribution of its recipe parameters."""

    pairs: tuple[Comparison, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class OutputView:
    """An output artifact. `kind` is empty when its manifest is missing from the store."""

    slot: str
    digest: str
    kind: str = ""
    facets: Facets = field(default_factory=dict)
    entries: int = 0
    size: int = 0
    count: int | None = None


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of the run, with everything that was observed while its key was built.

    `training` is whether it looked for a checkpoint to go on from. `comparisons` are results; `previews` show what a
    training made of held-out images, step by step.
    """

    name: str
    uses: str = ""
    state: StageState = "queued"
    inputs: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    because: str = ""
    key: str = ""
    attempt: int | None = None
    seconds: float | None = None
    partitions: tuple[int, int] | None = None  # (found done, total)
    done: float = 0
    total: float = 0
    unit: str = ""
    outputs: tuple[OutputView, ...] = ()
    curves: tuple[Curve, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    strips: tuple[Strip, ...] = ()
    previews: tuple[Comparison, ...] = ()
    tables: tuple[MetricTable, ...] = ()
    samples: tuple[SampleSheet, ...] = ()
    training: bool = False
    log: tuple[str, ...] = ()
    retries: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: str = ""

    @property
    def size(self) -> int:
        return sum(output.size for output in self.outputs)


@dataclass(frozen=True, slots=True)
class RunView:
    """A whole run. `problems` lists what was left out or could not be read; the page says so."""

    run: str
    name: str
    status: RunStatus
    started: float | None = None
    seconds: float | None = None
    file: str = ""
    store: str = ""
    executor: str = ""
    host: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[StageView, ...] = ()
    spec: str = ""
    problems: tuple[str, ...] = ()

    def count(self, *states: StageState) -> int:
        return sum(stage.state in states for stage in self.stages)

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(failure for stage in self.stages for failure in stage.failures)

    @property
    def warnings(self) -> tuple[tuple[str, Warned], ...]:
        """What was warned of in this run, each with its stage's name."""
        return tuple((stage.name, warned) for stage in self.stages for warned in stage.warnings)

    @property
    def size(self) -> int:
        """Bytes of all output artifacts, those with one digest counted once."""
        return sum({o.digest: o.size for stage in self.stages for o in stage.outputs}.values())
