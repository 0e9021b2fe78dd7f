"""What a verification found, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias, cast

from pipelines.canonical import JsonObject
from pipelines.store.keylog import DamagedRecord
from pipelines.store.parts import BadLine

Fault: TypeAlias = Literal["missing", "truncated", "longer", "damaged", "swapped", "unreadable", "misstated"]
MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Finding:
    """One bad entry of a stage's output. `entry` is "manifest" where that is what is wrong.

    `sha256` and `size` (bytes) are what it should have, `found_sha256` and `found_size` what lies there (None: not
    told). `partition` is the one that writes it, where that is known. `blob` says whether `sha256` names a blob;
    else it is the digest of a manifest, or nothing can be set aside.
    """

    stage: str
    output: str
    entry: str
    fault: Fault
    sha256: str
    size: int | None = None
    found_sha256: str | None = None
    found_size: int | None = None
    holds: str | None = None
    partition: str | None = None
    blob: bool = True
    text: str = ""

    @classmethod
    def of_row(cls, stage: str, line: BadLine) -> Finding:
        """A damaged line of a partition table."""
        text = f"damaged {line.name} of {line.segment}; it counts as absent"
        return cls(stage, line.segment, line.name, "missing", "", found_size=len(line.raw), blob=False, text=text)

    @classmethod
    def of_record(cls, stage: str, error: DamagedRecord) -> Finding:
        """A damaged record of a key log."""
        folder, _, name = error.path.rpartition("/")
        return cls(stage, folder, name, "missing", "", blob=False, text=str(error))

    @property
    def is_row(self) -> bool:
        """Whether this is a damaged line of a partition table."""
        return bool(self.text) and self.output.startswith("parts/")

    @property
    def place(self) -> str:
        """Which entry of which output, or which line of which file."""
        return f"{self.entry} of {self.output}" if self.text else f"{self.stage}.{self.output}/{self.entry}"

    @property
    def what(self) -> str:
        """What is wrong, in a few words."""
        if self.text:
            return "damaged"
        if self.fault == "truncated":
            return f"truncated: expected {self.size} bytes, has {self.found_size}"
        if self.fault == "longer":
            return f"too long: expected {self.size} bytes, has {self.found_size}"
        if self.fault == "swapped":
            return f"holds the bytes of {self.holds}"
        if self.fault == "damaged" and self.blob:
            return f"damaged: its sha256 is {(self.found_sha256 or '')[:12]}…, expected {self.sha256[:12]}…"
        if self.fault == "misstated":
            return f"stated with {self.size} bytes, and its blob rightly has {self.found_size}"
        return "unreadable: the disk fails" if self.fault == "unreadable" else self.fault

    def __str__(self) -> str:
        return self.text or f"{self.output}/{self.entry}: {self.what}"

    def to_json(self) -> JsonObject:
        return {**cast(JsonObject, asdict(self)), "text": str(self)}


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage. `said` is why it was not verified, or what could not be looked at; `reproducible` as committed.

    `complete` says that all that it has committed was looked at, which is nothing where it is not built.
    """

    stage: str
    key: str | None = None
    verified: bool = False
    complete: bool = True
    said: str = ""
    reproducible: bool = True
    entries: int = 0
    bytes: int = 0
    bad: tuple[Finding, ...] = ()

    def to_json(self) -> JsonObject:
        plain = cast(JsonObject, {k: v for k, v in asdict(self).items() if k != "bad"})
        return {**plain, "bad": [finding.to_json() for finding in self.bad]}


@dataclass(frozen=True, slots=True)
class Verification:
    """All stages that were asked for, in graph order. `bytes` were read, each blob once, in `seconds`."""

    stages: tuple[StageReport, ...] = ()
    bytes: int = 0
    seconds: float = 0.0

    @property
    def bad(self) -> tuple[Finding, ...]:
        return tuple(finding for stage in self.stages for finding in stage.bad)

    @property
    def complete(self) -> bool:
        """Whether something was verified, and all that is built was."""
        return all(stage.complete for stage in self.stages) and any(stage.verified for stage in self.stages)

    @property
    def intact(self) -> bool | None:
        """None where nothing bad was found and not everything was looked at."""
        if self.bad:
            return False
        return True if self.complete else None

    def to_json(self) -> JsonObject:
        return {
            "schema": 1,
            "intact": self.intact,
            "complete": self.complete,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "stages": [stage.to_json() for stage in self.stages],
        }


@dataclass(frozen=True, slots=True)
class Redone:
    """Partitions of one stage that were made again without keeping them. `differences` are told in words."""

    stage: str
    partitions: tuple[str, ...] = ()
    of: int = 0
    said: str = ""
    differences: tuple[str, ...] = field(default=())

    def to_json(self) -> JsonObject:
        return cast(JsonObject, {**asdict(self)})
