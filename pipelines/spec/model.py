"""A loaded spec: typed, resolved, and every field still knows where it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.canonical import JsonObject
from pipelines.spec.location import Location
from pipelines.spec.tree import Leaf, MapNode, node_at
from pipelines.stage import Config, Resources, Stage

SPEC_SCHEMA = 1
"""Version of :meth:`Spec.to_json`'s form, as stored with every run."""

_PATH_PARTS = re.compile(r"[^.\[\]]+")


@dataclass(frozen=True, slots=True)
class InputRef:
    """One edge as written: an output of a stage (cell), or a finished artifact.

    Exactly one of `stage` and `uri` is set. `output` is None for the stage's first output. `label` names
    the artifact in reports (``unet@mode=hr``).
    """

    stage: str | None
    output: str | None
    uri: str | None
    label: str
    where: Location


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage, or one cell of a matrix stage, as it will run.

    `name` is the cell's (``unet@mode=hr,seed=1``), `base` the one written in the spec, `axes` the cell's
    place in the matrix. `with_` is the resolved ``with:`` section, in which environment variables stand by
    name; `config` holds their values. `resources` has the stage's defaults filled in.
    """

    name: str
    base: str
    axes: Mapping[str, bool | int | float | str]
    uses: str
    stage: type[Stage]
    config: Config
    with_: JsonObject
    inputs: Mapping[str, tuple[InputRef, ...]]
    resources: Resources
    retries: int
    notes: str
    tree: MapNode = field(repr=False, compare=False)
    place: Location = field(repr=False, compare=False)

    def where(self, path: str = "") -> Location | None:
        """Where the value at `path` was written (``with.optimizer.lr``, ``uses``), or None if it was not.

        For a value that came through ``$(params.x)`` that is the parameter's place: there it is changed.
        """
        if not path:
            return self.place
        parts = tuple(_PATH_PARTS.findall(path))
        node = node_at(self.tree, parts)
        if isinstance(node, Leaf):
            return node.origin
        parent = node_at(self.tree, parts[:-1])
        if node is not None and isinstance(parent, MapNode):
            return parent.key(parts[-1])
        return node.where if node is not None else None

    def to_json(self) -> JsonObject:
        data: JsonObject = {"uses": self.uses, "with": self.with_}
        data["inputs"] = {slot: [_ref_text(ref) for ref in refs] for slot, refs in self.inputs.items()}
        data["resources"] = self.resources.model_dump(mode="json", exclude_none=True)
        data["retries"] = self.retries
        if self.notes:
            data["notes"] = self.notes
        if self.axes:
            data["matrix"] = {"stage": self.base, "cell": dict(self.axes)}
        return data


def _ref_text(ref: InputRef) -> str:
    if ref.uri is not None:
        return ref.uri
    return f"{ref.stage}.{ref.output}" if ref.output else str(ref.stage)


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole spec. `file` is absolute; `store` a path or URI; `code` the user's own packages.

    `sources` holds the text of every file and ``--set`` that took part, by the `file` of locations.
    """

    name: str
    file: Path
    store: str
    params: Mapping[str, Any]
    stages: Mapping[str, StageSpec]
    code: tuple[Path, ...]
    notes: str = ""
    store_recorded: str = ""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> JsonObject:
        """What a run records. Environment variables stand by name, never by value."""
        return {
            "schema": SPEC_SCHEMA,
            "name": self.name,
            "file": str(self.file),
            "store": self.store_recorded or self.store,
            "params": dict(self.params),
            "code": [str(path) for path in self.code],
            "notes": self.notes,
            "stages": {name: stage.to_json() for name, stage in self.stages.items()},
        }
