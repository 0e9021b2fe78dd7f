"""What a spec has built: finished artifacts by the names that the spec gives them, for commands and for notebooks.

::

    from pipelines.lookup import open_artifact

    pairs = open_artifact("specs/quickstart.yaml", "pairs@preset=bicubic")
    pairs.table().to_pandas()           # the index
    pairs.open("shard-00003.tar")       # a local read-only file

Nothing is built and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.canonical import JsonObject
from pipelines.errors import UsageError
from pipelines.stage import Artifact, Stage

if TYPE_CHECKING:
    from pipelines.assessment import Assessment
    from pipelines.graph import Graph
    from pipelines.inputs import StoredArtifact
    from pipelines.spec.model import Spec
    from pipelines.store.store import Store


@dataclass(frozen=True, slots=True)
class Built:
    """One output of a finished stage. `config` is what its key holds of the stage's settings: presets as values."""

    spec: str
    stage: str
    uses: str
    slot: str
    key: str
    config: JsonObject
    artifact: StoredArtifact
    inputs: Mapping[str, tuple[StoredArtifact, ...]]


@dataclass(frozen=True, slots=True)
class Ready:
    """A stage of a spec whose inputs are finished, itself built or not: all that is needed to run it."""

    name: str
    stage: type[Stage]
    config: Any
    inputs: Mapping[str, tuple[StoredArtifact, ...]]


def open_artifact(
    spec_file: str | Path, output: str, overrides: Sequence[str] = (), store: str | None = None
) -> Artifact:
    """The committed artifact behind ``stage``, ``stage.output`` or ``stage@axis=value.output`` of a spec as it is now.

    `overrides` are ``--set`` texts, `store` another store than the spec's. Without an output, the stage's first one.
    Raises UsageError for a name that the spec does not have, and for what is not built (saying how to build it).
    """
    return find_built(spec_file, output, overrides, store).artifact


def open_inputs(
    spec_file: str | Path, stage: str, overrides: Sequence[str] = (), store: str | None = None
) -> Mapping[str, tuple[Artifact, ...]]:
    """The artifacts that a finished stage was made of, by slot. Raises as :func:`open_artifact` does."""
    return find_built(spec_file, stage, overrides, store).inputs


def find_built(spec_file: str | Path, output: str, overrides: Sequence[str] = (), store: str | None = None) -> Built:
    """All there is to know of a finished output; see :func:`open_artifact`."""
    from pipelines.graph import build_graph
    from pipelines.inputs import StoredArtifact
    from pipelines.spec.load import load_spec
    from pipelines.store.store import open_store

    spec = load_spec(Path(spec_file), overrides)
    graph = build_graph(spec)
    name, slot = _named(output, graph)
    opened = open_store(store or spec.store, create=False)
    found = _assess(name, spec, graph, opened)
    if found.state != "cached" or found.identity is None or found.outputs is None:
        raise _not_built(found, str(spec_file), overrides, store)
    made_of = {
        to: tuple(StoredArtifact(opened, one.digest, one.label) for one in many)
        for to, many in found.identity.inputs.items()
    }
    return Built(
        spec=spec.name,
        stage=name,
        uses=found.uses,
        slot=slot,
        key=found.identity.key,
        config=cast(JsonObject, found.identity.payload["config"]),
        artifact=StoredArtifact(opened, found.outputs[slot], name),
        inputs=made_of,
    )


def find_stage(spec_file: str | Path, stage: str, overrides: Sequence[str] = (), store: str | None = None) -> Ready:
    """A stage of a spec with its settings and input artifacts, whether it is built or not.

    Raises UsageError for a name that the spec does not have, and when something that it needs is not built.
    """
    from pipelines.graph import build_graph
    from pipelines.inputs import StoredArtifact
    from pipelines.plan import Planner
    from pipelines.spec.load import load_spec
    from pipelines.store.store import open_store

    spec = load_spec(Path(spec_file), overrides)
    graph = build_graph(spec)
    name, _ = _named(stage, graph)
    opened = open_store(store or spec.store, create=False)
    plan = Planner(spec, graph, opened).plan({name} | graph.ancestors(name)).stages
    for upstream in graph.order:
        if upstream in graph.ancestors(name) and plan[upstream].state != "cached":
            raise _not_built(plan[upstream], str(spec_file), overrides, store)
    identity = plan[name].identity
    if identity is None:
        raise _not_built(plan[name], str(spec_file), overrides, store)
    made_of = {
        slot: tuple(StoredArtifact(opened, one.digest, one.label) for one in many)
        for slot, many in identity.inputs.items()
    }
    return Ready(name, spec.stages[name].stage, spec.stages[name].config, made_of)


def _named(text: str, graph: Graph) -> tuple[str, str]:
    """The one cell and output slot that `text` means. An axis value may hold dots: the longest reading comes first."""
    try:
        cells, output = _cells(text, graph), ""
    except UsageError:
        stage, dot, output = text.rpartition(".")
        if not dot:
            raise
        cells = _cells(stage, graph)
    if len(cells) != 1:
        raise UsageError(f"{text!r} means {len(cells)} stages; name one of them: {', '.join(cells)}")
    slots = tuple(graph.outputs[cells[0]])
    if output and output not in slots:
        raise UsageError(f"{cells[0]} has no output {output!r}; its outputs are: {', '.join(slots)}")
    return cells[0], output or slots[0]


def _cells(text: str, graph: Graph) -> list[str]:
    from pipelines.spec.select import parse_select

    selection = parse_select([text], graph, option="STAGE")
    if selection.partitions:
        raise UsageError(f"STAGE {text!r}: expected a whole stage; name it without brackets")
    return [name for name in graph.order if name in selection.stages]


def _assess(name: str, spec: Spec, graph: Graph, store: Store) -> Assessment:
    from pipelines.plan import Planner

    return Planner(spec, graph, store).plan({name} | graph.ancestors(name)).stages[name]


def _not_built(found: Assessment, spec_file: str, overrides: Sequence[str], store: str | None) -> UsageError:
    import shlex

    words = ["sharpline", "run", spec_file, "-s", f"+{found.name}"]
    words += [word for text in overrides for word in ("--set", text)]
    words += ["--store", store] if store else []
    why = "; ".join(reason.text for reason in found.reasons[:3])
    state = {"resume": "is built in part", "lost": "was built and is lost", "blocked": "cannot be built"}
    said = f"{found.name} {state.get(found.state, 'is not built')}" + (f" ({why})" if why else "")
    todo = (
        "`sharpline plan` says more" if found.state in ("lost", "blocked") else f"build it with `{shlex.join(words)}`"
    )
    return UsageError(f"{said}; {todo}")
