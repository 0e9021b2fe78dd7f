"""The graph of a spec: order, edges, and what is known of every artifact before anything runs.

Kinds and facets are followed from stage to stage in topological order, so that a dataset of the wrong scale
is refused when the spec is read and not after a night of training.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.spec.faults import stage_fault
from pipelines.spec.location import Location
from pipelines.spec.model import InputRef, Spec
from pipelines.spec.problems import Problems, listed, nearest
from pipelines.spec.tree import MapNode
from pipelines.stage import Facets, Input, InputFacets, Output, Stage, StageError


class Vertex(Protocol):
    """A stage as far as it is known: a `StageSpec`, or a draft of one in which something is wrong."""

    @property
    def name(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def stage(self) -> type[Stage] | None: ...
    @property
    def config(self) -> Any: ...
    @property
    def inputs(self) -> Mapping[str, tuple[InputRef, ...]]: ...
    @property
    def tree(self) -> MapNode: ...
    @property
    def place(self) -> Location: ...


@dataclass(frozen=True, slots=True)
class Edge:
    """`output` of stage `source` goes into `slot` of stage `target`."""

    source: str
    output: str
    target: str
    slot: str


class Graph:
    """Stages (cells) in topological order. Among stages that could come next, the one written first does."""

    def __init__(self, spec: Spec, order: Sequence[str], outputs: Mapping[str, Mapping[str, Output]]) -> None:
        self.spec = spec
        self.order = tuple(order)
        self.outputs = outputs
        """Output slots of every stage, with the facets that are known before the run."""
        self.edges = tuple(self._edges())
        self._upstream: dict[str, dict[str, None]] = {name: {} for name in order}
        self._downstream: dict[str, dict[str, None]] = {name: {} for name in order}
        for edge in self.edges:
            self._upstream[edge.target][edge.source] = None
            self._downstream[edge.source][edge.target] = None

    def upstream(self, name: str) -> tuple[str, ...]:
        """The stages that `name` takes inputs from, in the order of its slots."""
        return tuple(self._upstream[name])

    def downstream(self, name: str) -> tuple[str, ...]:
        """The stages that take an output of `name`."""
        return tuple(self._downstream[name])

    def ancestors(self, name: str) -> set[str]:
        """Everything that `name` needs, directly or not."""
        return _reach(name, self._upstream)

    def descendants(self, name: str) -> set[str]:
        """Everything that needs `name`, directly or not."""
        return _reach(name, self._downstream)

    def output_slot(self, ref: InputRef) -> str | None:
        """The output slot that `ref` means: the one it names, or the stage's first. None for a finished artifact."""
        if ref.stage is None:
            return None
        return ref.output or next(iter(self.outputs[ref.stage]))

    def _edges(self) -> Iterable[Edge]:
        for name in self.order:
            for slot, refs in self.spec.stages[name].inputs.items():
                for ref in refs:
                    output = self.output_slot(ref)
                    if ref.stage is not None and output is not None:
                        yield Edge(ref.stage, output, name, slot)


def build_graph(spec: Spec) -> Graph:
    """The graph of a valid spec.

    Raises :class:`SpecErrors` with every missing or unknown slot, unknown output, circle, wrong kind of artifact
    and conflict of facets.
    """
    problems = Problems(spec.sources)
    order, outputs = _Check(list(spec.stages.values()), problems).run()
    problems.raise_if_any()
    return Graph(spec, order, {name: found for name, found in outputs.items() if found is not None})


def check_graph(stages: Iterable[Vertex], problems: Problems) -> None:
    """Note what is wrong with the graph of stages of which some may be incomplete; about those, nothing is said."""
    _Check(list(stages), problems).run()


def _reach(name: str, neighbours: Mapping[str, Mapping[str, None]]) -> set[str]:
    found: set[str] = set()
    waiting = list(neighbours[name])
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(neighbours[current])
    return found


class _Check:
    def __init__(self, vertices: Sequence[Vertex], problems: Problems) -> None:
        self.vertices = {vertex.name: vertex for vertex in vertices}
        self.problems = problems
        self.outputs: dict[str, Mapping[str, Output] | None] = dict.fromkeys(self.vertices)
        self.needs = {
            vertex.name: [
                ref
                for refs in vertex.inputs.values()
                for ref in refs
                if ref.stage is not None and ref.stage in self.vertices
            ]
            for vertex in vertices
        }

    def run(self) -> tuple[list[str], dict[str, Mapping[str, Output] | None]]:
        """The order, and the outputs of every stage (None where they cannot be told)."""
        order = self._order()
        for vertex in self.vertices.values():
            self._check_slots(vertex)
        for name in order:
            self._follow(self.vertices[name])
        return order, self.outputs

    # ---------------------------------------------------------------- order

    def _order(self) -> list[str]:
        index = {name: number for number, name in enumerate(self.vertices)}
        users: dict[str, list[str]] = {name: [] for name in self.vertices}
        missing = {}
        for name, refs in self.needs.items():
            sources = {ref.stage for ref in refs if ref.stage is not None}
            missing[name] = len(sources)
            for source in sources:
                users[source].append(name)
        ready = [index[name] for name, count in missing.items() if count == 0]
        heapq.heapify(ready)
        names, order = list(self.vertices), []
        while ready:
            name = names[heapq.heappop(ready)]
            order.append(name)
            for user in users[name]:
                missing[user] -= 1
                if missing[user] == 0:
                    heapq.heappush(ready, index[user])
        self._note_circles({name for name, count in missing.items() if count > 0})
        return order

    def _note_circles(self, stuck: set[str]) -> None:
        """Every stage in `stuck` needs another one of it, so walking up from any of them ends in a circle."""
        seen: set[str] = set()
        for start in self.vertices:
            walk: dict[str, InputRef] = {}
            name = start
            while name in stuck and name not in seen:
                seen.add(name)
                walk[name] = next(ref for ref in self.needs[name] if ref.stage in stuck)
                name = str(walk[name].stage)
            if name in walk:
                circle = list(walk)[list(walk).index(name) :]
                first = min(circle, key=list(self.vertices).index)
                turned = circle[circle.index(first) :] + circle[: circle.index(first)]
                text = " needs ".join([*turned, first])
                path = f"stages.{self.vertices[first].base}.inputs"
                self.problems.add(
                    walk[first].where, path, f"a circle: {text}", expected="stages that can run one after another"
                )

    # ---------------------------------------------------------------- slots

    def _check_slots(self, vertex: Vertex) -> None:
        if vertex.stage is None:
            return
        section = vertex.tree.items.get("inputs")
        path = f"stages.{vertex.base}.inputs"
        slots = vertex.stage.inputs
        meant = set()
        for slot in vertex.inputs:
            if slot not in slots:
                where = section.key(slot) if isinstance(section, MapNode) else vertex.place
                close = nearest(slot, slots)
                meant.add(close)
                self.problems.add(
                    where, f"{path}.{slot}", f"{vertex.stage.name} has no input {slot!r}",
                    expected=listed(slots) if slots else "no inputs", nearest=close,
                )  # fmt: skip
        for slot, declared in slots.items():
            if slot not in vertex.inputs and slot not in meant and not declared.optional:
                where = vertex.tree.key("inputs") if "inputs" in vertex.tree.items else vertex.place
                doc = f" ({declared.doc})" if declared.doc else ""
                expected = f"{slot}: a stage that gives {declared.kind}{doc}"
                self.problems.add(where, f"{path}.{slot}", "a required input is missing", expected=expected)

    # ---------------------------------------------------------------- kinds and facets

    def _follow(self, vertex: Vertex) -> None:
        if vertex.stage is None or vertex.config is None:
            return
        arriving: dict[str, list[Facets]] = {}
        certain = True
        demands = self._demands(vertex)
        for slot, refs in vertex.inputs.items():
            declared = vertex.stage.inputs.get(slot)
            found = [self._arriving(vertex, slot, declared, ref) for ref in refs]
            certain = certain and declared is not None and bool(found) and None not in found
            arriving[slot] = [dict(output.facets) if output else {} for output in found]
            if declared is not None:
                wanted = {**declared.facets, **demands.get(slot, {})}
                for ref, facets in zip(refs, arriving[slot], strict=True):
                    self._compare(vertex, slot, ref, facets, wanted)
        self._state_outputs(vertex, arriving, certain)

    def _arriving(self, vertex: Vertex, slot: str, declared: Input | None, ref: InputRef) -> Output | None:
        """The output behind `ref`, or None when nothing is known of it."""
        outputs = self.outputs.get(ref.stage) if ref.stage is not None else None
        if ref.stage is None or not outputs:
            return None
        path = f"stages.{vertex.base}.inputs.{slot}"
        if ref.output is not None and ref.output not in outputs:
            close = nearest(ref.output, outputs)
            self.problems.add(
                ref.where, path, f"{ref.stage} has no output {ref.output!r}",
                expected=f"one of: {listed(outputs)}", nearest=f"{ref.stage}.{close}" if close else None,
            )  # fmt: skip
            return None
        name = ref.output or next(iter(outputs))
        output = outputs[name]
        if declared is not None and output.kind != declared.kind:
            fitting = next((other for other, found in outputs.items() if found.kind == declared.kind), None)
            self.problems.add(
                ref.where, path, f"{ref.stage} gives {output.kind} ({name!r}), and this input takes {declared.kind}",
                expected=f"{declared.kind}{f': {declared.doc}' if declared.doc else ''}",
                nearest=f"{ref.stage}.{fitting}" if fitting else None,
            )  # fmt: skip
            return None
        return output

    def _compare(self, vertex: Vertex, slot: str, ref: InputRef, have: Facets, wanted: Facets) -> None:
        for facet, value in wanted.items():
            if facet in have and have[facet] != value:
                self.problems.add(
                    ref.where, f"stages.{vertex.base}.inputs.{slot}",
                    f"{ref.label} has {facet} {have[facet]!r}, and {vertex.name} needs {value!r}",
                    expected=f"an artifact with {facet} {value!r}",
                )  # fmt: skip

    def _demands(self, vertex: Vertex) -> Mapping[str, Facets]:
        assert vertex.stage is not None
        try:
            return vertex.stage.demands(vertex.config)
        except Exception as error:  # the stage author's code
            self._fault(vertex, error, "demands")
            return {}

    def _state_outputs(self, vertex: Vertex, arriving: Mapping[str, list[Facets]], certain: bool) -> None:
        assert vertex.stage is not None
        slots = vertex.stage.inputs
        facets: InputFacets = {
            slot: found if slots[slot].many else found[0] for slot, found in arriving.items() if slot in slots and found
        }
        try:
            outputs = dict(vertex.stage.outputs(vertex.config, facets))
        except Exception as error:  # the stage author's code
            if certain or not arriving:
                self._fault(vertex, error, "outputs")
            return
        if not outputs:
            self._fault(vertex, StageError(f"{vertex.stage.name} states no output"), "outputs")
            return
        self.outputs[vertex.name] = outputs

    def _fault(self, vertex: Vertex, error: Exception, method: str) -> None:
        uses = vertex.tree.items.get("uses")
        where = uses.where if uses is not None else vertex.place
        self.problems.add(where, f"stages.{vertex.base}", stage_fault(error, method))
