"""A layered drawing of the stage graph: columns by depth, few crossings, edges led around boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

NODE_WIDTH: Final = 178.0
NODE_HEIGHT: Final = 62.0
COLUMN_GAP: Final = 46.0
ROW_GAP: Final = 16.0
LANE: Final = 14.0
MARGIN: Final = 8.0


@dataclass(frozen=True, slots=True)
class Box:
    """A stage's place, in pixels from the drawing's upper left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from the right side of `source` to the left side of `target`, as SVG path data."""

    source: str
    target: str
    path: str


@dataclass(frozen=True, slots=True)
class Drawing:
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float


_Node = tuple[str, int]  # a stage and 0, or the stages of an edge and the column that its line passes


def lay_out(inputs: Mapping[str, Sequence[str]]) -> Drawing:
    """Place every stage of `inputs` (stage -> upstream stages). Unknown upstreams and cycles are dropped."""
    column = _columns(inputs)
    chains = [
        _chain(source, target, column) for target, sources in inputs.items() for source in dict.fromkeys(sources)
        if source in column and column[source] < column[target]
    ]  # fmt: skip
    layers = _layers(column, chains)
    _untangle(layers, chains)
    middle = _place(layers, chains)
    left = {node: MARGIN + i * (NODE_WIDTH + COLUMN_GAP) for i, layer in enumerate(layers) for node in layer}
    boxes = tuple(Box(name, round(left[name, 0], 1), round(middle[name, 0] - NODE_HEIGHT / 2, 1)) for name in inputs)
    edges = tuple(Edge(chain[0][0], chain[-1][0], _path(chain, left, middle)) for chain in chains)
    width = 2 * MARGIN + len(layers) * NODE_WIDTH + max(0, len(layers) - 1) * COLUMN_GAP
    bottom = max((y + _height(node) / 2 for node, y in middle.items()), default=0.0)
    return Drawing(boxes, edges, round(width, 1), round(bottom + MARGIN, 1))


def _columns(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Each stage one column right of its deepest upstream."""
    column: dict[str, int] = {}
    left = dict(inputs)
    while left:
        ready = [name for name, sources in left.items() if all(s in column or s not in left for s in sources)]
        for name in ready or list(left):
            column[name] = max((column[s] + 1 for s in left[name] if s in column), default=0)
        left = {name: sources for name, sources in left.items() if name not in column}
    return column


def _chain(source: str, target: str, column: Mapping[str, int]) -> list[_Node]:
    between: list[_Node] = [(f"{source}\n{target}", i) for i in range(column[source] + 1, column[target])]
    return [(source, 0), *between, (target, 0)]


def _layers(column: Mapping[str, int], chains: Sequence[Sequence[_Node]]) -> list[list[_Node]]:
    layers: list[list[_Node]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name, i in column.items():
        layers[i].append((name, 0))
    for chain in chains:
        for node in chain[1:-1]:
            layers[node[1]].append(node)
    return layers


def _neighbours(chains: Sequence[Sequence[_Node]]) -> tuple[dict[_Node, list[_Node]], dict[_Node, list[_Node]]]:
    before: dict[_Node, list[_Node]] = {}
    after: dict[_Node, list[_Node]] = {}
    for chain in chains:
        for a, b in pairwise(chain):
            before.setdefault(b, []).append(a)
            after.setdefault(a, []).append(b)
    return before, after


def _untangle(layers: list[list[_Node]], chains: Sequence[Sequence[_Node]]) -> None:
    """Barycentre ordering: sweep right, then left, a few times."""
    before, after = _neighbours(chains)
    for sweep in range(6):
        forward = sweep % 2 == 0
        around = before if forward else after
        for layer in layers if forward else reversed(layers):
            rank = {node: i for other in layers for i, node in enumerate(other)}
            scale = {node: rank[node] for node in layer}
            for node in layer:
                near = around.get(node, [])
                if near:
                    scale[node] = sum(rank[n] for n in near) / len(near)  # type: ignore[assignment]
            layer.sort(key=lambda node, scale=scale, rank=rank: (scale[node], rank[node]))  # type: ignore[misc]


def _height(node: _Node) -> float:
    return NODE_HEIGHT if node[1] == 0 else LANE


def _place(layers: list[list[_Node]], chains: Sequence[Sequence[_Node]]) -> dict[_Node, float]:
    """Vertical middles: pull every node towards its neighbours, keeping order and distances."""
    before, after = _neighbours(chains)
    middle: dict[_Node, float] = {}
    for layer in layers:
        _stack(layer, dict.fromkeys(layer, 0.0), middle)
    for sweep in range(12):
        around = before if sweep % 2 == 0 else after
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wish = {n: _mean([middle[m] for m in around.get(n, [])], middle[n]) for n in layer}
            _stack(layer, wish, middle)
    top = min((y - _height(node) / 2 for node, y in middle.items()), default=0.0)
    return {node: y - top + MARGIN for node, y in middle.items()}


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _stack(layer: Sequence[_Node], wish: Mapping[_Node, float], middle: dict[_Node, float]) -> None:
    """Positions nearest to `wish` in order: nodes that would overlap form a block around their mean wish."""
    blocks: list[tuple[list[_Node], float, float]] = []  # nodes, sum of (wish - offset in the block), span
    for node in layer:
        block, total, span = [node], wish[node], 0.0
        while blocks:
            nodes, before, length = blocks[-1]
            shift = length + _gap(nodes[-1], block[0])
            if before / len(nodes) + shift <= total / len(block):
                break
            total, span = before + total - shift * len(block), shift + span
            block = [*nodes, *block]
            blocks.pop()
        blocks.append((block, total, span))
    for nodes, total, _ in blocks:
        y = total / len(nodes)
        for i, node in enumerate(nodes):
            y += _gap(nodes[i - 1], node) if i else 0.0
            middle[node] = y


def _gap(a: _Node, b: _Node) -> float:
    return _height(a) / 2 + ROW_GAP + _height(b) / 2


def _path(chain: Sequence[_Node], left: Mapping[_Node, float], middle: Mapping[_Node, float]) -> str:
    """Cubic curves through the lanes of the chain, level at every box."""
    x, y = left[chain[0]] + NODE_WIDTH, middle[chain[0]]
    parts = [f"M{x:.1f} {y:.1f}"]
    for node in chain[1:]:
        to, down = left[node], middle[node]
        bend = COLUMN_GAP * 0.5
        parts.append(f"C{x + bend:.1f} {y:.1f} {to - bend:.1f} {down:.1f} {to:.1f} {down:.1f}")
        x, y = to, down
        if node[1] != 0:
            x += NODE_WIDTH
            parts.append(f"H{x:.1f}")
    return "".join(parts)
