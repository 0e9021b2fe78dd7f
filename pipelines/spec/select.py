"""``--select``: one grammar for stages, what is around them, cells and partitions.

==================  ==================================================================
``pairs``           the stage; all cells of a matrix stage
``+pairs``          and everything that it needs
``pairs+``          and everything that needs it
``net@mode=hr``     the cells with these axis values (axes that are not named are free)
``pairs[3,17]``     two partitions of the stage
``pairs[failed]``   the partitions that failed last time
==================  ==================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.errors import UsageError
from pipelines.graph import Graph
from pipelines.spec.problems import listed, nearest
from pipelines.spec.scalars import NotAScalar, render, resolve

_TERM = re.compile(
    r"(?P<up>\+)?(?P<stage>[a-z0-9_][a-z0-9_-]*)(?P<cell>@[^\[\]]+?)?(?:\[(?P<parts>[^\[\]]*)\])?(?P<down>\+)?"
)
_PARTITION = re.compile(r"[A-Za-z0-9_.=@/-]+")
_FORM = "stage, +stage, stage+, stage@axis=value, stage[3,17] or stage[failed]"


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen stages (cells) and, for some of them, the partitions to which the choice is limited."""

    stages: set[str] = field(default_factory=set)
    partitions: dict[str, set[str] | Literal["failed"]] = field(default_factory=dict)


def parse_select(texts: Sequence[str], graph: Graph, *, option: str = "--select") -> Selection:
    """What `texts`, given with `option`, choose together. Nothing given chooses every stage.

    Raises :class:`UsageError` for text outside of the grammar and for names that do not exist, with the nearest.
    """
    if not texts:
        return Selection(set(graph.order))
    whole: set[str] = set()
    partial: dict[str, set[str] | Literal["failed"]] = {}
    for text in texts:
        term = _TERM.fullmatch(text.strip())
        if term is None:
            raise UsageError(f"{option} {text!r}: expected {_FORM}")
        cells = _cells(f"{option} {text!r}", term["stage"], term["cell"], graph)
        if term["parts"] is None:
            whole.update(cells)
        else:
            _limit(f"{option} {text!r}", cells, term["parts"], graph, partial)
        for cell in cells:
            whole.update(graph.ancestors(cell) if term["up"] else ())
            whole.update(graph.descendants(cell) if term["down"] else ())
    limited = {name: ids for name, ids in partial.items() if name not in whole}
    return Selection(whole | set(limited), limited)


def _cells(given: str, base: str, cell: str | None, graph: Graph) -> list[str]:
    stages = graph.spec.stages
    own = [name for name in graph.order if stages[name].base == base]
    if not own:
        bases = list(dict.fromkeys(stage.base for stage in stages.values()))
        close = nearest(base, bases)
        hint = f"; did you mean {close!r}?" if close else f"; there are: {listed(bases)}"
        raise UsageError(f"{given}: no stage is called {base!r}{hint}")
    if cell is None:
        return own
    wanted = [part.partition("=") for part in cell[1:].split(",")]
    chosen = [
        name
        for name in own
        if all(axis in stages[name].axes and _means(value, stages[name].axes[axis]) for axis, _, value in wanted)
    ]
    if not chosen:
        has = f"its cells are: {listed(own)}" if stages[own[0]].axes else "it has no matrix"
        raise UsageError(f"{given}: {base!r} has no such cell; {has}")
    return chosen


def _means(text: str, value: bool | int | float | str) -> bool:
    """Whether `text` stands for an axis value: as cells spell it, or in another spelling of the same value."""
    if render(value) == text:
        return True
    try:
        read = resolve(text) if text else None
    except NotAScalar:
        return False
    return type(read) is type(value) and read == value


def _limit(
    given: str, cells: Sequence[str], parts: str, graph: Graph, partial: dict[str, set[str] | Literal["failed"]]
) -> None:
    ids = [part.strip() for part in parts.split(",")]
    if not all(_PARTITION.fullmatch(part) for part in ids):
        raise UsageError(f"{given}: expected partitions such as [3,17], or [failed], in the brackets")
    if "failed" in ids and len(ids) > 1:
        raise UsageError(f"{given}: [failed] stands alone; give the others in a --select of their own")
    for cell in cells:
        if not graph.spec.stages[cell].stage.is_partitioned():
            raise UsageError(f"{given}: {cell} is not partitioned; select it without brackets")
        known = partial.get(cell, set())
        if ids == ["failed"] or known == "failed":
            if known and (known == "failed") != (ids == ["failed"]):
                raise UsageError(f"--select: {cell} is limited to [failed] and to named partitions; choose one of them")
            partial[cell] = "failed"
        else:
            assert isinstance(known, set)
            partial[cell] = known | set(ids)
