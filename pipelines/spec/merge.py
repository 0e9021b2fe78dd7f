"""How layers combine: mappings deeply, scalars and lists replace, ``null`` deletes.

A layer that changes a stage's ``uses`` starts its ``with`` anew: settings of one stage mean nothing to another.
"""

from __future__ import annotations

from pipelines.spec.tree import Leaf, MapNode, Node


def merge_specs(base: MapNode, layer: MapNode) -> MapNode:
    """`layer` over `base`, both whole specs."""
    stages, changes = base.items.get("stages"), layer.items.get("stages")
    if isinstance(stages, MapNode) and isinstance(changes, MapNode):
        kept = {
            name: _without_with(stage, changes.items[name]) if name in changes.items else stage
            for name, stage in stages.items.items()
        }
        base = MapNode({**base.items, "stages": MapNode(kept, stages.where, stages.keys)}, base.where, base.keys)
    merged = merge(base, layer)
    assert isinstance(merged, MapNode)
    return merged


def merge(base: Node, layer: Node) -> Node:
    """`layer` over `base`. A null replaces what it stands over; :func:`without_nulls` removes it afterwards."""
    if not (isinstance(base, MapNode) and isinstance(layer, MapNode)):
        return layer
    items = dict(base.items)
    for key, node in layer.items.items():
        items[key] = merge(items[key], node) if key in items else node
    return MapNode(items, layer.where, {**base.keys, **layer.keys})


def without_nulls(node: MapNode) -> MapNode:
    """`node` without its null entries (not looking deeper)."""
    if not any(_is_null(item) for item in node.items.values()):
        return node
    return MapNode({k: v for k, v in node.items.items() if not _is_null(v)}, node.where, node.keys)


def _is_null(node: Node) -> bool:
    return isinstance(node, Leaf) and node.value is None


def _without_with(stage: Node, change: Node) -> Node:
    """`stage` without its ``with`` when `change` names another stage class."""
    if not (isinstance(stage, MapNode) and isinstance(change, MapNode)):
        return stage
    old, new = stage.items.get("uses"), change.items.get("uses")
    if isinstance(old, Leaf) and isinstance(new, Leaf) and old.value != new.value:
        return MapNode({k: v for k, v in stage.items.items() if k != "with"}, stage.where, stage.keys)
    return stage
