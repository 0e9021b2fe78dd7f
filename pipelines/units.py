"""What a worker is sent: the task that all units of one attempt at a stage have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from pipelines.assessment import Identity
from pipelines.canonical import JsonObject
from pipelines.executors.task import Needs, Task
from pipelines.fingerprint import package_fingerprint
from pipelines.libraries import library_versions
from pipelines.spec.model import StageSpec
from pipelines.store.store import Store


def unit_task(
    store: Store, stage: StageSpec, identity: Identity, code: Sequence[str], needs: Needs, attempt: int, lineage: str
) -> Task:
    """The task of a stage that is one unit; of others, what its partitions and its end are made from."""
    gpus = math.ceil(needs.gpus)
    return Task(
        kind="run",
        stage=stage.name,
        uses=stage.uses,
        store=store.url,
        key=identity.key,
        attempt=attempt,
        lineage=lineage,
        family=identity.family,
        config=cast(JsonObject, stage.config.model_dump(mode="json")),
        inputs=identity.inputs,
        many=tuple(slot for slot, declared in stage.stage.inputs.items() if declared.many),
        sources={},
        threads=max(1, int(needs.cpus)),
        devices=tuple(f"cuda:{i}" for i in range(gpus)) or ("cpu",),
        code=tuple(code),
        package=package_fingerprint(),
        fingerprint=identity.code.digest,
        libraries=library_versions(stage.stage.libraries),
        ranks=needs.ranks,
        restarts=stage.retries,
    )
