"""What comes between a claim and the first unit: hashing sources and making partitions, beside the driver's loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final, TypeAlias

from pipelines.assessment import Assessment, Work
from pipelines.background import Background, settle
from pipelines.fitness import refuse_unfit_inputs
from pipelines.plan import Planner
from pipelines.sources import hash_sources
from pipelines.spec.model import StageSpec
from pipelines.stage import SourceFile
from pipelines.store.store import Store

AT_ONCE: Final = 4  # stages whose sources are hashed side by side

Prepared: TypeAlias = tuple[Mapping[str, tuple[SourceFile, ...]], Work | None]


class Preparing:
    """Prepares stages by name. Those with sources take long, so they are prepared in the background."""

    def __init__(self, store: Store, planner: Planner) -> None:
        self._store, self._planner = store, planner
        self._background = Background(AT_ONCE)
        self._futures: dict[str, Future[Prepared]] = {}

    def start(self, stage: StageSpec, assessment: Assessment) -> None:
        """Begin to prepare a claimed stage; it comes out of `ended` once."""
        name = stage.name
        if assessment.identity is not None and assessment.identity.listings:
            self._futures[name] = self._background.submit(name, lambda: self._prepare(stage, assessment))
            return
        done: Future[Prepared] = Future()
        settle(done, lambda: self._prepare(stage, assessment))
        self._futures[name] = done

    def ended(self) -> Iterator[tuple[str, Future[Prepared]]]:
        """The stages that are prepared, or failed to be. One that is dropped meanwhile does not come."""
        for name in [n for n, future in self._futures.items() if future.done()]:
            future = self._futures.pop(name, None)
            if future is not None:
                yield name, future

    def drop(self, name: str) -> None:
        """Forget a stage; what has not begun never does."""
        future = self._futures.pop(name, None)
        if future is not None:
            future.cancel()

    def drop_all(self) -> None:
        for name in list(self._futures):
            self.drop(name)

    def __bool__(self) -> bool:
        """Whether anything is being prepared."""
        return bool(self._futures)

    def _prepare(self, stage: StageSpec, assessment: Assessment) -> Prepared:
        assert assessment.identity is not None
        refuse_unfit_inputs(self._store, stage, assessment.identity)
        earlier = self._planner.earlier_signatures(stage.name)
        sources = hash_sources(self._store, stage.stage, stage.config, assessment.identity.listings, earlier)
        if not stage.stage.is_partitioned():
            return sources, None
        work = assessment.work or self._planner.work(stage, assessment.identity, sources, assessment)
        return sources, work
