"""Whether the artifacts connected to a stage are what it takes, in kind and facets: looked at before a start."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.artifact import Facets
from pipelines.assessment import Identity
from pipelines.errors import StageFailed
from pipelines.inputs import InputArtifact
from pipelines.spec.model import StageSpec
from pipelines.store.store import Store


def input_facets(store: Store, stage: StageSpec, identity: Identity) -> dict[str, Facets | list[Facets]]:
    """The facets of the artifacts that are connected to a stage, by slot."""
    facets: dict[str, Facets | list[Facets]] = {}
    for slot, found in identity.inputs.items():
        known = [store.trees.get(artifact.digest).facets for artifact in found]
        facets[slot] = known if stage.stage.inputs[slot].many else known[0]
    return facets


def refuse_unfit_inputs(store: Store, stage: StageSpec, identity: Identity) -> None:
    """The last check before a start: kinds and facets of the very artifacts. Raises StageFailed naming the slot."""
    demanded = stage.stage.demands(stage.config)
    for slot, found in identity.inputs.items():
        declared = stage.stage.inputs[slot]
        wanted = {**declared.facets, **demanded.get(slot, {})}
        for artifact in found:
            _refuse_unfit(store, stage, slot, artifact, declared.kind, wanted)


def _refuse_unfit(
    store: Store, stage: StageSpec, slot: str, artifact: InputArtifact, kind: str, wanted: Mapping[str, object]
) -> None:
    manifest = store.trees.get(artifact.digest)
    place = f"{stage.name}.inputs.{slot} ({artifact.label})"
    if manifest.kind != kind:
        raise StageFailed(f"{place}: expected an artifact of kind {kind}, got {manifest.kind}")
    for name, value in wanted.items():
        have = manifest.facets.get(name)
        if have != value:
            raise StageFailed(f"{place}: expected {name}={value!r}, the artifact has {name}={have!r}")
