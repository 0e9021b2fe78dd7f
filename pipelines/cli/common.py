"""What several commands do first: load the spec, build its graph, open its store, read a selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipelines.graph import Graph
    from pipelines.spec.model import Spec
    from pipelines.store.store import Store


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection with ``[failed]`` looked up: stages (None: all) and, for some, partition ids."""

    stages: frozenset[str] | None = None
    partitions: dict[str, frozenset[str]] = field(default_factory=dict)


def open_spec(
    path: Path, overrides: Sequence[str], store: str | None, *, create: bool = True
) -> tuple[Spec, Graph, Store]:
    """Load `path`, check it as a whole, open its store (or `store` instead), which has to exist unless `create`."""
    from pipelines.graph import build_graph
    from pipelines.spec.load import load_spec
    from pipelines.store.store import open_store

    spec = load_spec(path, overrides)
    return spec, build_graph(spec), open_store(store or spec.store, create=create)


def choose(texts: Sequence[str], graph: Graph, store: Store, spec: Spec) -> Chosen:
    """Read ``--select`` texts. Nothing given selects everything."""
    from pipelines.spec.select import parse_select

    if not texts:
        return Chosen()
    selection = parse_select(texts, graph)
    partitions = {
        name: frozenset(_failed_partitions(name, spec, store) if wanted == "failed" else wanted)
        for name, wanted in selection.partitions.items()
    }
    return Chosen(frozenset(selection.stages), partitions)


def stages_named(texts: Sequence[str], graph: Graph, given_as: str) -> tuple[str, ...]:
    """Whole cells named by `texts` (a matrix stage's own name means all its cells), in graph order.

    Raises UsageError, beginning with `given_as`, for unknown names (with the nearest) and for partitions.
    """
    from pipelines.errors import UsageError
    from pipelines.spec.select import parse_select

    if not texts:
        return ()
    selection = parse_select(texts, graph, option=given_as)
    for name in selection.partitions:
        raise UsageError(f"{given_as} {name}[...]: expected a whole stage; name {name} without brackets")
    return tuple(name for name in graph.order if name in selection.stages)


def to_rebuild(texts: Sequence[str], graph: Graph, chosen: Chosen) -> tuple[str, ...]:
    """Cells named by ``--rebuild``. Raises UsageError for one that ``--select`` leaves out: it would not be rebuilt."""
    from pipelines.errors import UsageError

    cells = stages_named(texts, graph, "--rebuild")
    for name in cells:
        if chosen.stages is not None and name not in chosen.stages:
            raise UsageError(f"--rebuild {name}: --select leaves this stage out; select it too, with -s {name}")
    return cells


def refuse_unready(chosen: Chosen, spec: Spec, graph: Graph, store: Store) -> None:
    """Raises UsageError when a chosen stage needs one that is neither chosen nor built: the run could not build it."""
    from pipelines.errors import UsageError
    from pipelines.plan import Planner

    if chosen.stages is None:
        return
    plan = Planner(spec, graph, store).plan().stages
    for name in graph.order:
        if name not in chosen.stages or plan[name].state == "cached":
            continue
        missing = [u for u in graph.order if u in graph.ancestors(name) - chosen.stages and plan[u].state != "cached"]
        if missing:
            raise UsageError(
                f"--select: {name} needs {', '.join(missing)}, which --select leaves out and which is not built; "
                f"select what it needs too, with -s +{name}"
            )


def executor_name(name: str, address: str | None) -> Literal["ray", "local"]:
    """What ``--executor`` names. Raises UsageError for another name, and for a cluster's address without Ray."""
    from pipelines.errors import UsageError

    if name not in ("ray", "local"):
        raise UsageError(f"--executor: expected ray or local, got {name!r}")
    if name == "local" and address is not None:
        raise UsageError("--address names a Ray cluster; it does not go with --executor local")
    return "local" if name == "local" else "ray"


def _failed_partitions(name: str, spec: Spec, store: Store) -> frozenset[str]:
    """Partitions that failed in the latest attempt of the stage's current key."""
    from pipelines.graph import build_graph
    from pipelines.plan import Planner

    assessment = Planner(spec, build_graph(spec), store).plan().stages[name]
    if assessment.identity is None:
        return frozenset()
    for attempt in reversed(store.attempts(assessment.identity.key)):
        record = store.attempt(assessment.identity.key, attempt).get_json("failed.json")
        if record is not None:
            ids = record.get("partitions")
            return frozenset(str(i) for i in ids) if isinstance(ids, list) else frozenset()
    return frozenset()
