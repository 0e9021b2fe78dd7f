"""The number after ``sharpline:`` and how a spec of an older number becomes one of today.

A migration does the same thing twice: to the tree (so that old specs simply run) and to the text (for
``sharpline migrate``, which keeps comments and layout).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipelines.spec.problems import Problems
from pipelines.spec.tree import Leaf, MapNode, Node, describe

CURRENT: Final = 1
KEY: Final = "sharpline"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from version n to n + 1."""

    tree: Callable[[MapNode], MapNode]
    text: Callable[[str], str]


MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""By the version that is left behind. Version 1 is the first, so there is nothing to leave yet."""


def check_version(root: Node, problems: Problems) -> int | None:
    """The version of a file, or None after noting why it cannot be read by this Sharpline."""
    first = f"`{KEY}: {CURRENT}` as the first key"
    if not isinstance(root, MapNode):
        problems.add(root.where, "", f"the file holds {describe(root)}", expected="a mapping with " + first)
        return None
    if KEY not in root.items:
        problems.add(root.where, KEY, "the version of the spec is missing", expected=first)
        return None
    if next(iter(root.items)) != KEY:
        problems.add(root.key(KEY), KEY, "the version is not the first key", expected=first)
    node = root.items[KEY]
    version = node.value if isinstance(node, Leaf) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        problems.add(node.where, KEY, f"the version is {describe(node)}", expected=first)
        return None
    if version > CURRENT:
        problems.add(
            node.where,
            KEY,
            f"this spec is of version {version}; this Sharpline reads up to {CURRENT}",
            expected="a newer Sharpline: upgrade it to use this spec",
        )
        return None
    return version


def migrate_tree(root: MapNode, version: int, migrations: Mapping[int, Migration] = MIGRATIONS) -> MapNode:
    """`root` of `version` as a tree of the newest version that `migrations` lead to."""
    while version in migrations:
        root = migrations[version].tree(root)
        version += 1
    return root


def migrate_text(text: str, version: int, migrations: Mapping[int, Migration] = MIGRATIONS) -> str:
    """The text of a spec of `version`, rewritten for the newest version that `migrations` lead to."""
    while version in migrations:
        text = migrations[version].text(text)
        version += 1
    return text
