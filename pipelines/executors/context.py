"""The context of a running unit, on top of the store: inputs fetched on demand, outputs as blobs, observations."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.artifact import Entry, Facets
from pipelines.canonical import JsonObject, sha256_hex
from pipelines.errors import Damaged
from pipelines.executors.stopping import StopWatch
from pipelines.executors.task import ALONE, Seat, Task
from pipelines.inputs import StoredArtifact
from pipelines.stage import Artifact, Checkpoints, Output, OutputWriter, Read, SourceFile, StageError
from pipelines.store.store import Store

if TYPE_CHECKING:
    from pipelines.store.attempts import Attempt, StreamWriter
    from pipelines.store.checkpoints import CheckpointStore

PROGRESS_INTERVAL = 0.5  # seconds between live progress hints: each is one small write


class SlotWriter:
    """One output slot: files are written to a scratch folder and become blobs when the unit returns."""

    def __init__(self, slot: str, output: Output, folder: Path) -> None:
        self._slot, self._output, self._folder = slot, output, folder
        self._written: dict[str, tuple[bool, JsonObject]] = {}
        self._kept: dict[str, Entry] = {}
        self.facets: Facets = {}
        self.refs: dict[str, str] = {}

    def path(self, name: str, *, derived: bool = False, meta: JsonObject | None = None) -> Path:
        Entry(name, "", 0)  # refuses names that cannot be entries before anything is written
        if name in self._written or name in self._kept:
            raise StageError(f"output {self._slot}: entry {name!r} was asked for twice")
        self._written[name] = (derived, self._plain(meta or {}, f"meta of entry {name!r}"))
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, entry: Entry) -> None:
        if entry.name in self._written or entry.name in self._kept:
            raise StageError(f"output {self._slot}: entry {entry.name!r} comes from two partitions")
        self._kept[entry.name] = entry

    def facet(self, **facets: bool | int | float | str | None) -> None:
        for name, value in facets.items():
            stated = self._output.facets.get(name, value)
            if stated != value:
                raise StageError(f"output {self._slot}: facet {name} was stated as {stated!r}, and came out {value!r}")
        self.facets.update(cast(Facets, self._plain(dict(facets), "facet")))

    def _plain(self, values: JsonObject, what: str) -> JsonObject:
        """`values` as they can be stored: a NumPy number or a Path would only fail at the very end."""
        for name, value in values.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise StageError(f"output {self._slot}: {what}, {name} = {value!r}: {error}") from error
        return values

    def ref(self, role: str, artifact: Artifact) -> None:
        self.refs[role] = artifact.digest

    def store_entries(self, store: Store) -> tuple[Entry, ...]:
        """Move what was written into the store; all entries of the slot in name order."""
        return self.entries(store.blobs.add_file)

    def entries(self, take: Callable[[Path], tuple[str, int]]) -> tuple[Entry, ...]:
        """All entries of the slot in name order; `take` is given every written file and tells (sha256, bytes)."""
        entries = list(self._kept.values())
        for name, (derived, meta) in self._written.items():
            path = self._folder / name
            if not path.is_file():
                raise StageError(f"output {self._slot}: entry {name!r} was announced and never written")
            sha256, size = take(path)
            entries.append(Entry(name, sha256, size, derived, meta))
        return tuple(sorted(entries, key=lambda entry: entry.name))


class UnitCheckpoints:
    """`pipelines.stage.Checkpoints` on the store's trainer states of one lineage.

    Every state carries the code fingerprints under which it came to be, so that a result of mixed code is known.
    """

    def __init__(
        self,
        kept: CheckpointStore,
        scratch: Path,
        attempt: str,
        fingerprint: str,
        flush: Callable[[], None],
        began: Callable[[int, str], None],
    ) -> None:
        """`attempt` is ``key/number``; `began` is told the step and the attempt that this one goes on from ("")."""
        self._kept, self._scratch, self._attempt, self._flush, self._began = kept, scratch, attempt, flush, began
        self.codes: tuple[str, ...] = (fingerprint,)
        self.resumed_from: int | None = None

    def save(self, step: int, folder: Path, *, keep_last: int = 2, keep: Collection[int] = ()) -> None:
        self._flush()  # what was observed up to this state would not be observed again
        meta: JsonObject = {"attempt": self._attempt, "codes": list(self.codes)}
        self._kept.save(step, folder, keep_last=keep_last, keep=keep, meta=meta)

    def latest(self, at_most: int) -> tuple[int, Path] | None:
        found = self._kept.restore(at_most, self._scratch)
        origin = cast(str, found[0].meta.get("attempt") or "") if found is not None else ""
        if origin != self._attempt:  # else a gang that began again: it began where it first did
            self._began(found[0].step if found is not None else 0, origin)
        if found is None:
            return None
        state, folder = found
        earlier = cast("list[str]", state.meta.get("codes") or [])
        self.codes = tuple(dict.fromkeys([*earlier, self.codes[-1]]))
        self.resumed_from = state.step
        return state.step, folder


class UnitContext:
    """`pipelines.stage.Context` for one unit of one attempt."""

    def __init__(
        self,
        store: Store,
        task: Task,
        config: Any,
        outputs: Mapping[str, Output],
        scratch: Path,
        seat: Seat = ALONE,
    ) -> None:
        self._store, self._task = store, task
        self.rank, self.world_size, self.rendezvous = seat.rank, seat.size, seat.rendezvous
        self.config = config
        self._folder = scratch
        self._inputs = {
            slot: StoredArtifact(store, found[0].digest, found[0].label)
            for slot, found in task.inputs.items()
            if slot not in task.many
        }
        self.inputs: Mapping[str, Artifact] = self._inputs
        self.many: Mapping[str, Sequence[Artifact]] = {
            slot: [StoredArtifact(store, a.digest, a.label) for a in found]
            for slot, found in task.inputs.items()
            if slot in task.many
        }
        self.slots = {slot: SlotWriter(slot, output, scratch / "out" / slot) for slot, output in outputs.items()}
        self.out: Mapping[str, OutputWriter] = self.slots
        self.sources: Mapping[str, Sequence[SourceFile]] = task.sources
        self.seed = int(getattr(config, "seed", 0) or 0)
        self.threads = task.threads
        self.devices = seat.devices or task.devices
        self.kept = UnitCheckpoints(
            store.checkpoints(task.lineage),
            scratch / "checkpoint",
            f"{task.key}/{task.attempt}",
            task.fingerprint,
            self._flush,
            self._began,
        )
        self.checkpoints: Checkpoints = self.kept
        self._attempt: Attempt = store.attempt(task.key, task.attempt)
        self._metrics: StreamWriter | None = None
        self._pictures: StreamWriter | None = None
        self._shown = 0.0
        self.log = logging.getLogger(f"sharpline.{task.stage}")
        self._logging: logging.Handler | None = None
        self._checked: set[str] = set()
        self._watch: StopWatch | None = None

    @cached_property
    def scratch(self) -> Path:
        """An empty folder, made when it is asked for: most partitions never do."""
        folder = self._folder / "scratch"
        folder.mkdir(parents=True)
        return folder

    @property
    def stopping(self) -> bool:
        if self._task.kind != "run":
            return False
        if self._watch is None:
            self._watch = StopWatch(self._attempt)
        return self._watch.asked

    def progress(self, done: float, total: float, unit: str = "") -> None:
        now = time.monotonic()
        if now - self._shown >= PROGRESS_INTERVAL or done >= total:
            self._shown = now
            self._attempt.put_hint(_hint(self._task), {"done": done, "total": total, "unit": unit})

    def metrics(self, step: int, **values: float) -> None:
        if self._metrics is None:
            self._metrics = self._attempt.stream("metrics")
        row: JsonObject = {"step": step, "time": round(time.time(), 3)}
        row.update({name: float(value) for name, value in values.items()})
        self._metrics.append(row)

    def image(self, name: str, png: bytes, *, step: int | None = None, caption: str = "") -> None:
        if self._pictures is None:
            self._pictures = self._attempt.stream("images")
        stored = name if step is None else f"{name}@{step}"
        self._attempt.put_picture(stored, png)
        self._pictures.append(
            {"name": name, "picture": stored, "step": step, "caption": caption, "time": round(time.time(), 3)}
        )

    def read(self, read: Read) -> bytes:
        found = self._inputs.get(read.slot)
        return _read_source(read) if found is None else _read_input(found, read)

    def part_file(self, entry: Entry) -> Path:
        if entry.sha256 in self._checked:
            return self._store.blobs.open(entry.sha256)
        try:
            path = self._store.blobs.open_checked(entry.sha256)
        except Damaged as error:
            raise Damaged(f"{entry.name}, of a finished partition of {self._task.stage}: {error}") from error
        self._checked.add(entry.sha256)
        return path

    def open_log(self) -> logging.Handler:
        """Attach the attempt's `log` stream to the stage's logger."""
        from pipelines.store.attempts import StreamHandler

        unit = self._task.title if self.world_size == 1 else f"{self._task.title} (rank {self.rank})"
        self._logging = StreamHandler(self._attempt.stream("log"), {"unit": unit})
        self.log.addHandler(self._logging)
        self.log.setLevel(logging.INFO)
        self.log.propagate = False
        return self._logging

    def _flush(self) -> None:
        for stream in (self._metrics, self._pictures):
            if stream is not None:
                stream.flush()

    def _began(self, step: int, origin: str) -> None:
        """Whose observations, up to which step, go before this attempt's: another key's too, if `steps` was raised."""
        self._attempt.put_json("begin.json", {"step": step, "from": origin})

    def close(self) -> None:
        """Flush every observation."""
        if self._watch is not None:
            self._watch.close()
        for stream in (self._metrics, self._pictures):
            if stream is not None:
                stream.close()
        if self._logging is not None:
            self.log.removeHandler(self._logging)
            self._logging.close()


class _Unsaved:
    """Checkpoints that are read only: rank 0 saves for all."""

    def __init__(self, kept: UnitCheckpoints) -> None:
        self._kept = kept

    def save(self, step: int, folder: Path, *, keep_last: int = 2, keep: Collection[int] = ()) -> None:
        return

    def latest(self, at_most: int) -> tuple[int, Path] | None:
        return self._kept.latest(at_most)


class Follower(UnitContext):
    """The context of a rank other than 0: it reads and logs as rank 0 does, and what else it says goes nowhere."""

    def __init__(
        self, store: Store, task: Task, config: Any, outputs: Mapping[str, Output], scratch: Path, seat: Seat
    ) -> None:
        super().__init__(store, task, config, outputs, scratch, seat)
        self.checkpoints = _Unsaved(self.kept)

    def progress(self, done: float, total: float, unit: str = "") -> None:
        return

    def metrics(self, step: int, **values: float) -> None:
        return

    def image(self, name: str, png: bytes, *, step: int | None = None, caption: str = "") -> None:
        return

    def _began(self, step: int, origin: str) -> None:
        return


class Rehearsal(UnitContext):
    """A context whose unit is made for its bytes only: whatever it observes goes nowhere, trainer state too."""

    def progress(self, done: float, total: float, unit: str = "") -> None:
        return

    def metrics(self, step: int, **values: float) -> None:
        return

    def image(self, name: str, png: bytes, *, step: int | None = None, caption: str = "") -> None:
        return

    def _began(self, step: int, origin: str) -> None:
        return

    def open_log(self) -> logging.Handler:
        self._logging = logging.NullHandler()
        self.log.addHandler(self._logging)
        self.log.propagate = False
        return self._logging


def _read_input(artifact: StoredArtifact, read: Read) -> bytes:
    """A declared range of an input. Its sha256 stands in the input's index, so that other bytes are damaged ones."""
    data = artifact.read(read.entry, read.offset, read.size)
    if sha256_hex(data) != read.sha256:
        data = artifact.read_again(read.entry, read.offset, read.size)
    came = sha256_hex(data)
    if came != read.sha256:
        raise Damaged(
            f"{read.slot}: {read.name} in {read.entry} of {artifact.label} is damaged: expected sha256 "
            f"{read.sha256[:12]}…, its bytes have {came[:12]}…; `sharpline repair SPEC` makes {read.entry} again"
        )
    return data


def _read_source(read: Read) -> bytes:
    """A declared range of a source file, which others may change at any time."""
    try:
        with Path(read.entry).open("rb") as file:
            file.seek(read.offset)
            data = file.read(read.size)
    except OSError as error:
        raise StageError(
            f"source file {read.name} could not be read at {read.entry}: {error.strerror}; "
            "it was there when the source was listed: run again to list it anew"
        ) from error
    if sha256_hex(data) != read.sha256:
        raise StageError(
            f"{read.slot}: the bytes of {read.name} changed since they were listed "
            f"(expected sha256 {read.sha256[:12]}…); run again to list it anew"
        )
    return data


def hint_name(partition: str | None) -> str:
    """The name of the live progress hint of a unit."""
    return "progress" if partition is None else f"progress-{partition}"


def _hint(task: Task) -> str:
    return hint_name(task.partition.id if task.partition else None)
