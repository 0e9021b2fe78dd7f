"""Breaking a store on purpose, and seeing what of it was touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.graph import build_graph
from pipelines.plan import Planner
from pipelines.repair import Repair, Repaired
from pipelines.run import ExecutorChoice
from pipelines.spec.load import load_spec
from pipelines.store.blobs import blob_key
from pipelines.store.trees import tree_key
from pipelines.verify.check import verify
from pipelines.verify.findings import Redone, Verification
from pipelines.verify.reading import Reader
from pipelines.verify.resynthesis import resynthesise
from tests.support.workspace import Ran, Told, Workspace


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, bytes(data))


def truncate(path: Path) -> None:
    rewrite(path, path.read_bytes()[:-1])


def delete(path: Path) -> None:
    path.unlink()


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    rewrite(one, second)
    rewrite(other, first)


def rewrite(path: Path, data: bytes) -> None:
    os.chmod(path, 0o644)
    path.write_bytes(data)
    os.chmod(path, 0o444)


@dataclass
class Breakable:
    """A finished workspace and the files behind its results."""

    work: Workspace

    def outputs(self, stage: str) -> Mapping[str, str]:
        return committed(self.work, stage)

    def manifest_file(self, stage: str, slot: str) -> Path:
        return self.work.folder / ".sharpline" / tree_key(self.outputs(stage)[slot])

    def file(self, stage: str, slot: str, entry: str) -> Path:
        """The blob of an entry; of a partition's own one too (``index-2.txt``)."""
        manifest = self.work.store.trees.get(self.outputs(stage)[slot])
        names = {e.name: e.sha256 for e in manifest.entries}
        if entry not in names:
            identity = self.work.plan().stages[stage].identity
            rows = self.work.store.parts(identity.family).load()
            names = {e.name: e.sha256 for row in rows.values() for e in row.entries[slot]}
        return self.work.folder / ".sharpline" / blob_key(names[entry])

    def content(self) -> dict[str, tuple[bytes, int, int]]:
        """Bytes, inode and time of every blob and manifest."""
        root = self.work.folder / ".sharpline"
        files = [file for room in ("blobs", "trees") for file in (root / room).rglob("*") if file.is_file()]
        return {
            str(file.relative_to(root)): (file.read_bytes(), file.stat().st_ino, file.stat().st_mtime_ns)
            for file in files
        }

    def verify(self, *stages: str) -> Verification:
        planner = self._planner()
        return verify(planner, stages or planner.graph.order, Reader(planner.store))

    def bad(self) -> dict[str, str]:
        """What a verification says of each bad entry."""
        return {f"{f.stage}.{f.output}/{f.entry}": f.what for f in self.verify().bad}

    def repair(self, *stages: str, say: Callable[[str], None] = print, **options: Any) -> tuple[Repaired, Ran]:
        planner, told = self._planner(), Told()
        repair = Repair(
            planner.spec, planner.graph, planner.store, told, executor=ExecutorChoice("local"), say=say, **options
        )
        done = repair.run(stages or planner.graph.order)
        return done, Ran(done.runs[-1] if done.runs else None, told.events)  # type: ignore[arg-type]

    def resynthesise(self, share: float, seed: int = 0) -> dict[str, Redone]:
        planner = self._planner()
        return {done.stage: done for done in resynthesise(planner, planner.graph.order, share, seed=seed, cpus=2)}

    def _planner(self) -> Planner:
        spec = load_spec(self.work.file)
        return Planner(spec, build_graph(spec), self.work.store)


def committed(work: Workspace, stage: str) -> Mapping[str, str]:
    """The digests of a stage's outputs as its key log has them, intact or not."""
    assessment = work.plan().stages[stage]
    assert assessment.identity is not None
    commit = work.store.key_log(assessment.identity.key).state().committed
    assert commit is not None
    return commit.outputs
