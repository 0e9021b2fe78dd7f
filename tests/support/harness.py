"""Run a stage on a folder, without store or scheduler: the contract of `pipelines.stage`, and nothing else."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from pipelines.artifact import Entry, Facets, Manifest
from pipelines.stage import Artifact, Output, Partition, PartitionResult, Read, SourceFile, Stage


@dataclass(frozen=True)
class FolderArtifact:
    """An artifact whose entries are files of one folder."""

    label: str
    folder: Path
    manifest: Manifest
    refs: Mapping[str, Artifact] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def facets(self) -> Facets:
        return self.manifest.facets

    def open(self, name: str) -> Path:
        self.manifest.entry(name)
        return self.folder / name

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        with self.open(name).open("rb") as file:
            file.seek(offset)
            return file.read() if size is None else file.read(size)

    def table(self, name: str = "index.parquet") -> pyarrow.Table:
        return pyarrow.parquet.read_table(self.open(name))

    def ref(self, role: str) -> Artifact:
        return self.refs[role]


class FolderWriter:
    """Collects entries in a folder; `manifest()` hashes what was written."""

    def __init__(self, folder: Path, output: Output, inputs: Sequence[Artifact] = ()) -> None:
        self.folder, self.output, self.inputs = folder, output, inputs
        self.facets: Facets = dict(output.facets)
        self.refs: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str, *, derived: bool = False, meta: dict[str, Any] | None = None) -> Path:
        assert name not in self.entries, f"{name} asked for twice"
        self.entries[name] = Entry(name, "", 0, derived, meta or {})
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, entry: Entry) -> None:
        self.entries[entry.name] = entry
        holders = [a for a in self.inputs if any(e.sha256 == entry.sha256 for e in a.manifest.entries)]
        if holders and not (self.folder / entry.name).exists():  # a store finds bytes by digest, whoever wrote them
            shutil.copyfile(holders[0].open(entry.name), self.folder / entry.name)

    def facet(self, **facets: Any) -> None:
        self.facets.update(facets)

    def ref(self, role: str, artifact: Artifact) -> None:
        self.refs[role] = artifact.digest

    def manifest(self) -> Manifest:
        entries = []
        for entry in self.entries.values():
            data = (self.folder / entry.name).read_bytes()
            entries.append(replace(entry, sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
        return Manifest(self.output.kind, self.facets, tuple(entries), self.refs)


class FolderCheckpoints:
    """Trainer state as one folder a step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, folder: Path, *, keep_last: int = 2, keep: Collection[int] = ()) -> None:
        target = self.folder / f"{step:08d}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)

    def latest(self, at_most: int) -> tuple[int, Path] | None:
        steps = sorted(int(p.name) for p in self.folder.glob("*") if int(p.name) <= at_most)
        return (steps[-1], self.folder / f"{steps[-1]:08d}") if steps else None


@dataclass
class FolderContext:
    """A `pipelines.stage.Context` on local folders."""

    config: Any
    inputs: Mapping[str, Artifact]
    many: Mapping[str, Sequence[Artifact]]
    out: Mapping[str, FolderWriter]
    sources: Mapping[str, Sequence[SourceFile]]
    checkpoints: FolderCheckpoints
    scratch: Path
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("stage"))
    seed: int = 0
    threads: int = 1
    devices: tuple[str, ...] = ("cpu",)
    rank: int = 0
    world_size: int = 1
    rendezvous: str = ""
    stopping: bool = False
    recorded: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)

    def progress(self, done: float, total: float, unit: str = "") -> None: ...

    def metrics(self, step: int, **values: float) -> None:
        self.recorded.append((step, values))

    def image(self, name: str, png: bytes, *, step: int | None = None, caption: str = "") -> None:
        self.images[name] = png

    def read(self, read: Read) -> bytes:
        if read.slot in self.inputs:
            data = self.inputs[read.slot].read(read.entry, read.offset, read.size)
        else:
            with Path(read.entry).open("rb") as file:
                file.seek(read.offset)
                data = file.read(read.size)
        assert hashlib.sha256(data).hexdigest() == read.sha256, f"{read.name}: bytes changed"
        return data

    def part_file(self, entry: Entry) -> Path:
        return next(w.folder / entry.name for w in self.out.values() if (w.folder / entry.name).exists())


@dataclass
class StageRun:
    """A finished stage: its artifacts by slot, and the last context with what it observed."""

    artifacts: dict[str, FolderArtifact]
    context: FolderContext


def run_stage(
    stage: type[Stage],
    folder: Path,
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Artifact | Sequence[Artifact]] | None = None,
    *,
    reverse: bool = False,
    checkpoints: Path | None = None,
) -> StageRun:
    """Run every partition (in reverse order on request) and `finish`, or `run`, below `folder`."""
    typed = stage.Config(**(config or {}))
    single = {k: v for k, v in (inputs or {}).items() if not isinstance(v, (list, tuple))}
    many = {k: v for k, v in (inputs or {}).items() if isinstance(v, (list, tuple))}
    facets: dict[str, Any] = {k: v.facets for k, v in single.items()}
    facets |= {k: [a.facets for a in v] for k, v in many.items()}
    outputs = stage.outputs(typed, facets)
    sources = stage.hash_sources(typed, stage.list_sources(typed))
    refs = {a.digest: a for a in [*single.values(), *(a for v in many.values() for a in v)]}
    refs |= {b.digest: b for a in [*refs.values()] if isinstance(a, FolderArtifact) for b in a.refs.values()}

    def context(name: str) -> FolderContext:
        taken = list(refs.values())
        writers = {slot: FolderWriter(folder / name / slot, output, taken) for slot, output in outputs.items()}
        scratch = folder / name / "scratch"
        scratch.mkdir(parents=True)
        kept = FolderCheckpoints(checkpoints or folder / "checkpoints")
        return FolderContext(
            typed, single, many, writers, sources, kept, scratch, seed=int(getattr(typed, "seed", 0) or 0)
        )

    if not stage.is_partitioned():
        ctx = context("out")
        stage().run(ctx)
        return _collect(ctx, refs)

    partitions: list[Partition] = list(stage.partitions(typed, single, sources))
    results = []
    for part in reversed(partitions) if reverse else partitions:
        ctx = context(f"part-{part.id}")
        stage().run_partition(ctx, part)
        results.append((part, ctx))
    results.sort(key=lambda pair: partitions.index(pair[0]))
    final = context("out")
    parts = []
    for part, ctx in results:
        entries = {slot: writer.manifest().entries for slot, writer in ctx.out.items()}
        for slot, writer in ctx.out.items():
            for entry in entries[slot]:
                target = final.out[slot].folder / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(writer.folder / entry.name, target)
        parts.append(PartitionResult(part, entries))
    stage().finish(final, parts)
    return _collect(final, refs)


def _collect(ctx: FolderContext, known: Mapping[str, Artifact]) -> StageRun:
    artifacts = {}
    for slot, writer in ctx.out.items():
        manifest = writer.manifest()
        refs = {role: known[digest] for role, digest in manifest.refs.items()}
        artifacts[slot] = FolderArtifact(slot, writer.folder, manifest, refs)
    return StageRun(artifacts, ctx)
