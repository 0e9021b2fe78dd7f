"""Which attempts led to a stage's result, and how far each of them counts.

An attempt that went on from a checkpoint repeats the steps that were made after it, and one that began anew repeats
all: of those before it only what lies up to its beginning counts. Where `steps` was raised, the training before
belongs to another key.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.canonical import Json, JsonObject
from pipelines.progress.board import StageLine, as_number, as_object, as_text
from pipelines.report.problems import Problems

if TYPE_CHECKING:
    from pipelines.store.attempts import Attempt
    from pipelines.store.keylog import Commit
    from pipelines.store.runs import RunRecord
    from pipelines.store.store import Store


@dataclass(frozen=True, slots=True)
class Stretch:
    """An attempt, and the last of its steps that counts. What it recorded without a step always counts.

    `training` is whether it looked for a checkpoint, which only trainings do; attempts of before this was noted did
    not say.
    """

    attempt: Attempt
    until: float = math.inf
    training: bool = False

    def counts(self, row: Mapping[str, Json]) -> bool:
        step = as_number(row.get("step"))
        return step is None or step <= self.until


def attempts_of(
    store: Store, key: str, attempt: int | None, problems: Problems, known: Collection[str] = ()
) -> list[Stretch]:
    """The attempts that led to the result, oldest first: all of the key up to `attempt`, and those they went on from.

    `known` are keys not to look into again.
    """
    numbers = problems.guard(f"attempts of {key[:15]}", list[int](), store.attempts, key)
    if attempt is not None:
        numbers = sorted({n for n in numbers if n <= attempt} | {attempt})
    found: list[Stretch] = []
    for n in numbers:
        this = store.attempt(key, n)
        begin = as_object(problems.guard(f"begin of {this.folder}", None, this.get_json, "begin.json"))
        step = as_number(begin.get("step"))
        origin, _, number = as_text(begin.get("from")).rpartition("/")
        if origin not in ("", key, *known) and number.isdigit():
            known = (*known, origin, key)
            found = [*attempts_of(store, origin, int(number), problems, known), *found]
        if step is not None:
            found = [replace(earlier, until=min(earlier.until, step)) for earlier in found]
        found.append(Stretch(this, training=step is not None))
    return found


def evidence(
    store: Store, record: RunRecord, line: StageLine, problems: Problems
) -> tuple[str, list[Stretch], Commit | None]:
    """Key, attempts and, for a reused result, commit of a stage as its run tells of it."""
    pointer = pointer_of(record, line, problems)
    key = line.key or as_text(pointer.get("key"))
    commit = _commit(store, line, problems) if line.phase == "reused" else None
    seen = attempts_of(store, key, _attempt(line, pointer, commit), problems) if key else []
    return key, seen, commit


def pointer_of(record: RunRecord, line: StageLine, problems: Problems) -> JsonObject:
    """The run's own record of a stage that it built; empty for one that it has not come to."""
    if line.phase in ("queued", "skipped"):
        return {}
    name = f"stages/{line.name}.json"
    return as_object(problems.guard(name, None, record.get_json, name))


def _commit(store: Store, line: StageLine, problems: Problems) -> Commit | None:
    """The commit that a reused stage took its result from."""
    log = problems.guard(f"key log of {line.name}", None, store.key_log, line.key)
    state = problems.guard(f"key log of {line.name}", None, log.state) if log is not None else None
    return state.committed if state is not None else None


def _attempt(line: StageLine, pointer: JsonObject, commit: Commit | None) -> int | None:
    """The attempt behind the stage's result; for a reused one it is in the key's commit."""
    stated = line.attempt if line.attempt is not None else as_number(pointer.get("attempt"))
    if stated is not None:
        return int(stated)
    return commit.attempt if commit is not None else None
