"""A model that has seen other images than those it was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipelines.stage import Output
from stages.models.registry import save_provenance
from tests.support.harness import FolderArtifact, FolderWriter


def having_seen(folder: Path, model: FolderArtifact, sources: Iterable[str]) -> FolderArtifact:
    """`model` again, in `folder`, with the image digests `sources` in its provenance."""
    writer = FolderWriter(folder, Output("model", "", model.facets), [model])
    for entry in model.manifest.entries:
        if entry.name != "provenance.json":
            writer.keep(entry)
    writer.refs |= model.manifest.refs
    save_provenance(writer, sources)
    return FolderArtifact(model.label, folder, writer.manifest(), model.refs)
