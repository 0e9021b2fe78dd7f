"""A folder with a spec, its sources and its store; runs and plans in this process."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.events import Event
from pipelines.graph import build_graph
from pipelines.plan import Plan, Planner
from pipelines.run import ExecutorChoice, RunResult, run
from pipelines.scheduler import Options
from pipelines.spec.load import load_spec
from pipelines.store.store import Store, open_store

TOYS = "tests.support.toy_stages"
CHAIN = """
    source: {uses: "toy:Texts", with: {source: ./texts}}
    upper:
      uses: toy:Upper
      inputs: {texts: source}
    joined:
      uses: toy:Join
      inputs: {texts: upper}
"""
TESTS = Path(__file__).resolve().parents[1]


@dataclass
class Told:
    """Collects events."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Ran:
    """A finished run and what it said."""

    result: RunResult
    events: list[Event]

    @property
    def status(self) -> str:
        return self.result.status

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]

    def stages(self, kind: str) -> list[str]:
        return [str(event.stage) for event in self.of(kind)]

    @property
    def built(self) -> list[str]:
        return sorted(self.stages("stage.committed"))

    @property
    def reused(self) -> list[str]:
        return sorted(self.stages("stage.reused"))

    @property
    def partitions(self) -> list[str]:
        return sorted(f"{event.stage}[{event.data['partition']}]" for event in self.of("partition.done"))


class Workspace:
    """One spec in one folder. `text` may use the toy stages by their short names: ``uses: toy:Upper``."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        self.folder, self._store = folder, store
        self.file = folder / "spec.yaml"

    def texts(self, **contents: str) -> None:
        """Write source texts below ``texts/``."""
        for name, content in contents.items():
            path = self.folder / "texts" / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)

    def spec(self, stages: str) -> None:
        """Write the spec: `stages` is the YAML below ``stages:``."""
        body = textwrap.indent(textwrap.dedent(stages).strip("\n"), "  ")
        text = f"sharpline: 1\nname: test\ncode: [{TESTS}]\nstages:\n{body}\n".replace("toy:", f"{TOYS}:")
        self.file.write_text(text)

    @property
    def store(self) -> Store:
        return open_store(self._store or self.folder / ".sharpline")

    def run(
        self,
        *overrides: str,
        options: Options | None = None,
        rebuild: Sequence[str] = (),
        executor: ExecutorChoice | None = None,
    ) -> Ran:
        spec = load_spec(self.file, overrides)
        told = Told()
        result = run(
            spec,
            build_graph(spec),
            self.store,
            told,
            executor=executor or ExecutorChoice("local"),
            options=options,
            rebuild=rebuild,
        )
        return Ran(result, told.events)

    def plan(self, *overrides: str, rebuild: Sequence[str] = ()) -> Plan:
        spec = load_spec(self.file, overrides)
        return Planner(spec, build_graph(spec), self.store, rebuild=rebuild).plan()

    def states(self, *overrides: str) -> dict[str, str]:
        return {name: stage.state for name, stage in self.plan(*overrides).stages.items()}

    def why(self, stage: str, *overrides: str) -> str:
        return "\n".join(str(reason) for reason in self.plan(*overrides).stages[stage].reasons)

    def text(self, stage: str, entry: str, slot: str | None = None) -> str:
        """The bytes of an entry of a cached stage, as text."""
        outputs: Mapping[str, Any] = self.plan().stages[stage].outputs or {}
        manifest = self.store.trees.get(outputs[slot or next(iter(outputs))])
        return self.store.blobs.read(manifest.entry(entry).sha256).decode()


def chain(folder: Path) -> Workspace:
    """A workspace with three texts and a chain of three stages: listed, upper-cased one by one, joined."""
    work = Workspace(folder)
    work.texts(a="one", b="two", c="three")
    work.spec(CHAIN)
    return work
