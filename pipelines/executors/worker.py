"""The one door through which work enters a worker process, whatever executor started it."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pipelines.errors import SharplineError, StoreError
from pipelines.executors.context import Follower, Rehearsal, UnitContext
from pipelines.executors.stopping import hears_sigterm
from pipelines.executors.task import ALONE, Outcome, Seat, Task
from pipelines.executors.warned import Heard
from pipelines.failure import Failure
from pipelines.fingerprint import fingerprint, package_fingerprint
from pipelines.libraries import library_versions
from pipelines.registry import add_code, load_stage
from pipelines.stage import Entry, Facets, Interrupted, Output, PartitionResult, Stage, StageError
from pipelines.store.blobs import hash_file
from pipelines.store.store import Store, open_store

log = logging.getLogger("sharpline.worker")


class Mismatch(SharplineError):
    """This worker runs other code or libraries than the driver: results would not be what the key says."""


def main(text: str, seat: Seat = ALONE) -> str:
    """Run one unit. Takes a :class:`Task` and returns an :class:`Outcome`, both as JSON text; never raises."""
    started, heard = time.perf_counter(), Heard()
    try:
        with hears_sigterm():
            outcome = run_task(Task.from_text(text), seat, heard)
            return replace(outcome, warnings=heard.texts).to_text()
    except BaseException as error:  # also SystemExit: without an outcome the driver would wait for ever
        failure, seconds = Failure.from_exception(error), time.perf_counter() - started
        return Outcome.failed(failure, seconds, heard.texts).to_text()


def run_task(task: Task, seat: Seat, heard: Heard) -> Outcome:
    """Run `task` in this process and move its results into the store; of a gang's, those of rank 0.

    `heard` is told what the stage warns of, also where this raises.
    """
    started = time.perf_counter()
    add_code(task.code)
    _refuse_mismatch(task)
    stage = load_stage(task.uses)
    _refuse_edited(task.uses, task.code, task.fingerprint)
    config = stage.Config.model_validate(task.config)
    store = _store(task.store)
    scratch = store.new_scratch() if task.keep else Path(tempfile.mkdtemp(prefix="sharpline-rehearsal-"))
    context = (Follower if seat.rank else UnitContext) if task.keep else Rehearsal
    try:
        ctx = context(store, task, config, _outputs(store, task, stage, config), scratch, seat)
        ctx.open_log()
        try:
            with heard.listening(ctx.log):  # and not while our own words on a failure are logged
                _work(stage(), ctx, store, task)
        except Interrupted as stopped:
            ctx.log.info("%s stopped as it was asked to: %s", task.title, stopped)
            raise
        except Exception:
            ctx.log.exception("%s failed", task.title)
            raise
        finally:
            ctx.close()
        if seat.rank:
            return Outcome(seconds=time.perf_counter() - started)
        return Outcome(
            entries=_stored(store, task, ctx),
            facets={slot: writer.facets for slot, writer in ctx.slots.items()},
            refs={slot: writer.refs for slot, writer in ctx.slots.items()},
            seconds=time.perf_counter() - started,
            resumed_from=ctx.kept.resumed_from,
            codes=ctx.kept.codes,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _work(stage: Stage, ctx: UnitContext, store: Store, task: Task) -> None:
    if task.kind == "partition":
        assert task.partition is not None
        stage.run_partition(ctx, task.partition)
    elif task.kind == "finish":
        stage.finish(ctx, _parts(store, task))
    else:
        stage.run(ctx)


def _stored(store: Store, task: Task, ctx: UnitContext) -> dict[str, tuple[Entry, ...]]:
    take = store.blobs.add_file if task.keep else hash_file
    entries = {slot: writer.entries(take) for slot, writer in ctx.slots.items()}
    empty = [slot for slot, found in entries.items() if not found]
    if empty and task.kind != "partition":
        raise StageError(
            f"output {empty[0]}: nothing was written to it; expected at least one ctx.out[{empty[0]!r}].path(…)"
        )
    return entries


def _parts(store: Store, task: Task) -> list[PartitionResult]:
    rows = store.parts(task.family).load()
    results = []
    for partition, key in task.parts:
        row = rows.get(key)
        if row is None:
            raise StoreError(f"{task.stage}[{partition.id}]: its finished row is gone from the partition table")
        results.append(PartitionResult(partition, {slot: tuple(found) for slot, found in row.entries.items()}))
    return results


def _outputs(store: Store, task: Task, stage: type[Stage], config: Any) -> Mapping[str, Output]:
    facets: dict[str, Facets | list[Facets]] = {}
    for slot, found in task.inputs.items():
        known = [store.trees.get(a.digest).facets for a in found]
        facets[slot] = known if slot in task.many else known[0]
    return stage.outputs(config, facets)


@lru_cache(maxsize=4)
def _store(url: str) -> Store:
    return open_store(url, create=False)


@cache
def _refuse_edited(uses: str, code: tuple[str, ...], expected: str) -> None:
    """The user's own code must be what the driver put into the key; looked at once, when this process loads it."""
    stage = load_stage(uses)
    file = Path(sys.modules[stage.__module__].__file__ or "")
    if stage.code_policy != "key" or not any(file.is_relative_to(root) for root in code):
        return  # ours is compared as a whole, shipped code was frozen by the driver
    if fingerprint(stage, [Path(path) for path in code]).digest != expected:
        raise Mismatch(f"{uses}: its code was edited while the run was going, so its key is out of date; run again")


def _refuse_mismatch(task: Task) -> None:
    here = package_fingerprint()
    if here != task.package:
        raise Mismatch(
            f"this worker has another Sharpline than the driver: package {here[:12]} here, {task.package[:12]} there; "
            "its code was edited while the run was going (run again), or another version is installed on this node"
        )
    found = library_versions(tuple(task.libraries))
    for name, version in task.libraries.items():
        if found[name] != version:
            raise Mismatch(f"this worker has {name} {found[name]}, the driver {version}; install {version} here")
