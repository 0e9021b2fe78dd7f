"""The fixed part of a spec: which fields there are, and readers that note a problem when one has another form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pipelines.spec.merge import without_nulls
from pipelines.spec.problems import Problems, nearest
from pipelines.spec.tree import Leaf, MapNode, Node, describe

TOP_FIELDS: Final = {
    "sharpline": "Version of the spec language; the first key.",
    "name": "Name of the spec, in reports and run records.",
    "params": "Values for $(params.NAME).",
    "store": "Where artifacts live: a folder (relative to this file) or s3://bucket/prefix.",
    "code": "Folders of your own packages, relative to this file; stages in them are used as package.module:Class.",
    "extends": "Specs that this one is laid over, in order, relative to this file.",
    "stages": "The stages by name.",
    "notes": "For people; never part of a key.",
}
STAGE_FIELDS: Final = {
    "uses": "Which stage: a known name, or package.module:Class.",
    "with": "The stage's config.",
    "inputs": "What it works on: slot -> stage, stage.output, stage@axis=value, artifact:<digest>, or a list of these.",
    "resources": "What one unit of work needs; never part of a key.",
    "retries": "How often a unit is tried again after an infrastructure failure; never part of a key.",
    "notes": "For people; never part of a key.",
    "matrix": "Axes with lists of values; the stage gets a cell for every combination.",
}
DEFAULT_STORE: Final = ".sharpline"
DEFAULT_RETRIES: Final = 2

SPEC_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
STAGE_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_-]*")


def check_fields(node: MapNode, path: str, known: Iterable[str], problems: Problems) -> None:
    """Note every key of `node` that is none of `known`."""
    names = list(known)
    for key in node.items:
        if key not in names:
            problems.add(
                node.key(key), f"{path}.{key}" if path else key, "unknown field",
                expected=", ".join(names), nearest=nearest(key, names),
            )  # fmt: skip


def mapping(parent: MapNode, key: str, path: str, problems: Problems, *, keep_nulls: bool = False) -> MapNode | None:
    """The mapping under `key`, by default without null entries; None when absent, or noted as something else."""
    node = parent.items.get(key)
    if node is None:
        return None
    if isinstance(node, MapNode):
        return node if keep_nulls else without_nulls(node)
    if isinstance(node, Leaf) and node.value is None:
        return None
    problems.add(node.where, path, f"expected a mapping, got {describe(node)}", expected="`name: value` lines below it")
    return None


def text(parent: MapNode, key: str, path: str, problems: Problems) -> str | None:
    """The text under `key`; None when absent, or noted as something else."""
    node = parent.items.get(key)
    if node is None:
        return None
    if isinstance(node, Leaf) and isinstance(node.value, str):
        return node.value
    problems.add(node.where, path, f"expected text, got {describe(node)}", expected=_text_hint(node))
    return None


def _text_hint(node: Node) -> str:
    if isinstance(node, Leaf) and node.value is not None:
        return f"text: {str(node.recorded)!r} in quotes if that is meant"
    return "text"
