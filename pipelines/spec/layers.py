"""The layers of a spec as one tree: what it `extends`, in order, then the file, then every ``--set``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.spec.location import OVERRIDE, Location
from pipelines.spec.merge import merge_specs
from pipelines.spec.parse import parse
from pipelines.spec.problems import Problems, listed, nearest
from pipelines.spec.source import read_source
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe
from pipelines.spec.versions import KEY, check_version, migrate_tree

_MOST_FILES = 100
_OVERRIDE_PATH = re.compile(r"[^\s.=\[\]]+(\.[^\s.=\[\]]+)*")


def read_layers(file: str, overrides: Sequence[str], problems: Problems) -> MapNode | None:
    """All layers merged; None when a file of them cannot be read (its problems have been noted)."""
    files = _Files(problems)
    tree = files.read(file, ())
    changes = [_override(text, number, problems) for number, text in enumerate(overrides, 1)]
    if tree is None or files.incomplete:
        return None
    for change in changes:
        if change is not None:
            _check_override(tree, change, problems)
            tree = merge_specs(tree, change)
    return tree


class _Files:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.done: dict[str, MapNode | None] = {}
        self.incomplete = False

    def read(self, file: str, chain: tuple[str, ...]) -> MapNode | None:
        """`file` over everything that it extends. `chain` holds the real paths of those that led here."""
        real = os.path.realpath(file)
        if real not in self.done:
            self.done[real] = self._read(file, (*chain, real))
        return self.done[real]

    def _read(self, file: str, chain: tuple[str, ...]) -> MapNode | None:
        text = read_source(file, self.problems)
        root = parse(text, file, self.problems) if text is not None else None
        version = check_version(root, self.problems) if root is not None else None
        if version is None or not isinstance(root, MapNode):
            return None
        root = migrate_tree(root, version)
        merged: MapNode | None = None
        for leaf, target in self._bases(root, file):
            base = self._base(leaf, target, chain)
            if base is None:
                self.incomplete = True
            else:
                merged = base if merged is None else merge_specs(merged, base)
        if not self.incomplete:
            self._check_deletions(merged, root)
        own = MapNode({k: v for k, v in root.items.items() if k != "extends"}, root.where, root.keys)
        return own if merged is None else merge_specs(merged, own)

    def _check_deletions(self, base: MapNode | None, layer: MapNode) -> None:
        """A stage that is null deletes one of the layers below; where there is none, something was forgotten."""
        below, own = base.items.get("stages") if base else None, layer.items.get("stages")
        known = below.items if isinstance(below, MapNode) else {}
        if not isinstance(own, MapNode):
            return
        for name, stage in own.items.items():
            if isinstance(stage, Leaf) and stage.value is None and name not in known:
                expected = "`uses:` and its other fields" + (f", or null for one of: {listed(known)}" if known else "")
                close = nearest(name, known)
                self.problems.add(
                    own.key(name), f"stages.{name}", "the stage is empty", expected=expected, nearest=close
                )

    def _base(self, leaf: Leaf, target: str, chain: tuple[str, ...]) -> MapNode | None:
        real = os.path.realpath(target)
        if real in chain:
            names = [Path(path).name for path in (*chain[chain.index(real) :], real)]
            self.problems.add(leaf.where, "extends", f"a circle: {' -> '.join(names)}", expected="layers that end")
            return None
        if len(self.done) + len(chain) > _MOST_FILES:
            self.problems.add(leaf.where, "extends", f"more than {_MOST_FILES} files", expected="fewer layers")
            return None
        if not Path(target).is_file():
            self.problems.add(leaf.where, "extends", f"no such file: {target}", expected="a spec, relative to this one")
            return None
        return self.read(target, chain)

    def _bases(self, root: MapNode, file: str) -> list[tuple[Leaf, str]]:
        node = root.items.get("extends")
        entries: list[Node] = node.items if isinstance(node, ListNode) else [node] if node is not None else []
        found = []
        for entry in entries:
            if isinstance(entry, Leaf) and isinstance(entry.value, str) and entry.value and "\0" not in entry.value:
                found.append((entry, os.path.normpath(os.path.join(os.path.dirname(file), entry.value))))
            else:
                self.incomplete = True
                self.problems.add(
                    entry.where,
                    "extends",
                    f"got {describe(entry)}",
                    expected="the path of a spec, or a list of paths",
                )
        return found


def _override(text: str, number: int, problems: Problems) -> MapNode | None:
    """``stages.teacher.with.steps=10`` as a tree with that one leaf, or None after noting what is wrong."""
    file = f"{OVERRIDE}{number}"
    where = Location(file, 1, 1)
    problems.sources[file] = text
    path, equals, value = text.partition("=")
    form = "--set stages.STAGE.with.FIELD=VALUE"
    if "@" in path:
        problems.add(
            where, "", f"{path!r} names a cell", expected="the stage: --set on a matrix stage applies to every cell"
        )
        return None
    if not equals or not _OVERRIDE_PATH.fullmatch(path):
        problems.add(where, "", f"{text!r} is no assignment", expected=form)
        return None
    if path.split(".")[0] in (KEY, "extends"):
        problems.add(where, "", f"{path} belongs to a file", expected=form)
        return None
    node = _value(value, file, len(path) + 1, problems)
    if node is None:
        return None
    for key in reversed(path.split(".")):
        node = MapNode({key: node}, where, {key: where})
    assert isinstance(node, MapNode)
    return node


def _value(text: str, file: str, offset: int, problems: Problems) -> Node | None:
    """`text` as YAML, its first line `offset` columns to the right; nothing at all is null."""
    own = Problems()
    if not text.strip():
        where = Location(file, 1, offset + 1)
        return Leaf(None, where, where)
    node = parse(text, file, own)
    for problem in own.found:
        column = problem.where.column + (offset if problem.where.line == 1 else 0)
        where = Location(file, problem.where.line, column)
        problems.add(where, problem.path, problem.message, expected=problem.expected)
    return None if own.found or node is None else _shifted(node, offset)


def _shifted(node: Node, offset: int) -> Node:
    def shift(where: Location) -> Location:
        return where._replace(column=where.column + offset) if where.line == 1 else where

    if isinstance(node, Leaf):
        return Leaf(node.value, shift(node.where), shift(node.origin))
    if isinstance(node, ListNode):
        return ListNode([_shifted(item, offset) for item in node.items], shift(node.where))
    items = {key: _shifted(item, offset) for key, item in node.items.items()}
    return MapNode(items, shift(node.where), {key: shift(where) for key, where in node.keys.items()})


def _check_override(tree: MapNode, change: MapNode, problems: Problems) -> None:
    """A ``--set`` may not invent parameters or stages: that would hide a typing error."""
    for section in ("params", "stages"):
        new = change.items.get(section)
        known = tree.items.get(section)
        names = known.items if isinstance(known, MapNode) else {}
        for name in new.items if isinstance(new, MapNode) else {}:
            if name not in names:
                problems.add(
                    change.where,
                    f"{section}.{name}",
                    f"no {section[:-1]} of this name to set",
                    expected=f"one of: {listed(names)}",
                    nearest=nearest(name, names),
                )
