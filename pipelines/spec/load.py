"""From a spec file to a typed :class:`~pipelines.spec.model.Spec`, or to everything that is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.graph import check_graph
from pipelines.registry import add_code
from pipelines.spec.interpolate import Params, Scope, Unresolved, interpolate
from pipelines.spec.layers import read_layers
from pipelines.spec.location import Location
from pipelines.spec.locations import resolve
from pipelines.spec.merge import without_nulls
from pipelines.spec.model import Spec
from pipelines.spec.problems import Problems, SpecErrors
from pipelines.spec.shape import DEFAULT_STORE, SPEC_NAME, TOP_FIELDS, check_fields, mapping, text
from pipelines.spec.stages import Draft, read_stages
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe, recordable

_STORE_URL = re.compile(r"s3://[^/]+(/.*)?|file://.+")
_OURS = ("pipelines", "degrade", "stages")


def load_spec(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Spec:
    """Read, merge, resolve and validate the spec at `path` with its ``--set`` overrides.

    Raises :class:`SpecErrors` with all problems at once, those of the graph included as far as it can be seen.
    Folders of ``code:`` are put on the import path; nothing else outside of the result changes.
    """
    problems = Problems()
    file = os.fspath(path)
    tree = read_layers(file, overrides, problems)
    if tree is None:
        raise SpecErrors(problems.found)
    return _Loader(file, without_nulls(tree), environ, problems).load()


class _Loader:
    def __init__(self, file: str, tree: MapNode, environ: Mapping[str, str], problems: Problems) -> None:
        self.file, self.tree, self.environ, self.problems = file, tree, environ, problems
        self.params = Params(mapping(tree, "params", "params", problems, keep_nulls=True), problems)
        self.scope = Scope(self.params, problems)

    def load(self) -> Spec:
        check_fields(self.tree, "", TOP_FIELDS, self.problems)
        params = {name: recordable(node) for name, node in self.params.resolved().items()}
        name, notes = self._name(), text(self.tree, "notes", "notes", self.problems) or ""
        store, store_recorded = self._store()
        code = self._code()
        drafts = self._stages()
        if self.problems.found:
            check_graph(drafts.values(), self.problems)
        self.problems.raise_if_any()
        stages = {cell: stage for cell, draft in drafts.items() if (stage := draft.finished()) is not None}
        assert len(stages) == len(drafts), "a stage is unfinished, yet no problem was noted"
        file = Path(os.path.abspath(self.file))
        return Spec(name, file, store, params, stages, code, notes, store_recorded, self.problems.sources)

    def _name(self) -> str:
        form = "lower-case letters, digits and -"
        if "name" not in self.tree.items:
            self.problems.add(self.tree.where, "name", "a required field is missing", expected=f"name: {form}")
            return ""
        name = text(self.tree, "name", "name", self.problems) or ""
        if not SPEC_NAME.fullmatch(name) and isinstance(self.tree.items["name"], Leaf) and name:
            self.problems.add(self.tree.items["name"].where, "name", f"{name!r} is no name of a spec", expected=form)
        return name

    def _store(self) -> tuple[str, str]:
        """The store to use, and how it is recorded."""
        node = self.tree.items.get("store")
        if node is None:
            beside = resolve(DEFAULT_STORE, Location(self.file, 1, 1))
            return beside, beside
        try:
            found = (
                interpolate(node, "store", Scope(self.params, self.problems, env=self.environ))
                if isinstance(node, Leaf)
                else node
            )
        except Unresolved:
            return "", ""
        if not isinstance(found, Leaf) or not isinstance(found.value, str) or not found.value:
            self.problems.add(node.where, "store", f"got {describe(found)}", expected="a folder, or s3://bucket/prefix")
            return "", ""
        if "://" in found.value and not _STORE_URL.fullmatch(found.value):
            expected = "a folder, or s3://bucket/prefix"
            self.problems.add(node.where, "store", f"{found.value!r} is no store", expected=expected)
        recorded = found.shown if found.shown is not None else resolve(found.value, found.origin)
        return resolve(found.value, found.origin), recorded

    def _code(self) -> tuple[Path, ...]:
        node = self.tree.items.get("code")
        entries: list[Node] = node.items if isinstance(node, ListNode) else [node] if node is not None else []
        found = [path for entry in entries if (path := self._package(entry)) is not None]
        add_code(found)
        return tuple(found)

    def _package(self, node: Node) -> Path | None:
        expected = "the folder of a Python package (or a .py file), relative to this file"
        try:
            leaf = interpolate(node, "code", self.scope) if isinstance(node, Leaf) else node
        except Unresolved:
            return None
        if not isinstance(leaf, Leaf) or not isinstance(leaf.value, str) or not leaf.value:
            self.problems.add(node.where, "code", f"got {describe(leaf)}", expected=expected)
            return None
        path = Path(resolve(leaf.value, leaf.origin))
        if not path.is_dir():
            self.problems.add(node.where, "code", f"no such folder: {path}", expected=expected)
        elif path.name in _OURS:
            self.problems.add(
                node.where, "code", f"{path.name!r} is a package of Sharpline itself", expected="another name"
            )
        elif not path.name.isidentifier():
            self.problems.add(node.where, "code", f"{path.name!r} cannot be imported", expected="letters, digits and _")
        else:
            return path
        return None

    def _stages(self) -> dict[str, Draft]:
        node = mapping(self.tree, "stages", "stages", self.problems)
        if node is None or not node.items:
            if node is not None or "stages" not in self.tree.items:
                self.problems.add(
                    self.tree.key("stages"), "stages", "there are no stages", expected="stages: with at least one"
                )
            return {}
        return read_stages(node, self.scope, self.environ)
