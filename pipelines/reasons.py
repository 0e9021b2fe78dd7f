"""Why work must be done: the typed difference between the payload that was built and the one that is asked for.

``with.optimizer.lr: 5e-5 -> 0.0001 (specs/rsd.yaml:41)``
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias, cast

from pipelines.canonical import Json, JsonObject, normalise
from pipelines.wording import describe_input_change, describe_listing_change, show, show_change

__all__ = ["Reason", "ReasonKind", "describe_input_change", "describe_listing_change", "diff_payloads", "nearest"]

ReasonKind: TypeAlias = Literal[
    "new", "config", "input", "source", "code", "library", "version",
    "partition", "rebuild", "lost", "upstream", "advisory",
]  # fmt: skip
Where: TypeAlias = Callable[[str], "str | None"]
"""From a path of the spec (``with.optimizer.lr``, ``inputs.images``) to ``file:line``, if it stands in a file."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `path` is the place in the payload, in the words of the spec; `where` is ``file:line``.

    `before` and `after` are the values as they stand in the payloads; None also when there was none.
    `text` is the sentence without `where`; ``str(reason)`` has both.
    """

    kind: ReasonKind
    path: str
    before: Json
    after: Json
    text: str
    where: str | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.where})" if self.where else self.text

    @classmethod
    def rebuild(cls, why: str) -> Reason:
        """Somebody asked for it."""
        return cls("rebuild", "", None, None, why)

    def to_json(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Reason:
        where = data.get("where")
        return cls(
            kind=cast(ReasonKind, data["kind"]),
            path=str(data["path"]),
            before=data.get("before"),
            after=data.get("after"),
            text=str(data["text"]),
            where=None if where is None else str(where),
        )


class _Missing:
    """Stands for a value that one of the payloads does not have (None is a value)."""


MISSING: Final = _Missing()
_Side: TypeAlias = "Json | _Missing"


def diff_payloads(old: JsonObject, new: JsonObject, where: Where) -> list[Reason]:
    """Everything in which `new` differs from `old`; empty exactly when they give the same key."""
    before, after = cast(JsonObject, normalise(old)), cast(JsonObject, normalise(new))
    reasons: list[Reason] = []
    for name in dict.fromkeys([*_SECTIONS, *after, *before]):
        explain = _SECTIONS.get(name, _explain_config)
        one, other = before.get(name, MISSING), after.get(name, MISSING)
        path = _SPEC_NAMES.get(name, name)
        if not _same(one, other):  # a section that came or went without members is explained as a value
            reasons += list(explain(path, one, other, where)) or _explain_config(path, one, other, where)
    return reasons


def nearest(payload: JsonObject, candidates: Sequence[JsonObject]) -> JsonObject | None:
    """The candidate that differs from `payload` in the fewest leaves; the first of equals; None without any."""
    wanted = dict(_leaves(normalise(payload)))

    def distance(candidate: JsonObject) -> int:
        have = dict(_leaves(normalise(candidate)))
        return sum(not _same(wanted.get(path, MISSING), have.get(path, MISSING)) for path in {*wanted, *have})

    return min(candidates, key=distance, default=None)


# ---------------------------------------------------------------- sections of a payload


def _explain_config(path: str, old: _Side, new: _Side, where: Where) -> Iterator[Reason]:
    for place, before, after in _differences(path, old, new):
        yield _reason("config", place, before, after, _say(place, before, after), _locate(where, place))


def _explain_version(path: str, old: _Side, new: _Side, _where: Where) -> Iterator[Reason]:
    yield _reason("version", path, old, new, _say("version of the stage", old, new))


def _explain_code(path: str, old: _Side, new: _Side, _where: Where) -> Iterator[Reason]:
    yield _reason("code", path, old, new, "code: changed")


def _explain_libraries(path: str, old: _Side, new: _Side, _where: Where) -> Iterator[Reason]:
    for name, before, after in _members(old, new):
        was, now = ("none" if isinstance(side, _Missing) else side for side in (before, after))
        yield _reason("library", f"{path}.{name}", before, after, f"library {name}: {was} -> {now}")


def _explain_inputs(path: str, old: _Side, new: _Side, where: Where) -> Iterator[Reason]:
    for slot, before, after in _members(old, new):
        place = f"{path}.{slot}"
        if isinstance(before, list) and isinstance(after, list):
            yield from _explain_many(place, slot, before, after, where)
        else:
            yield _reason("input", place, before, after, _say_digest(slot, before, after), _locate(where, place))


def _explain_many(place: str, slot: str, old: list[Json], new: list[Json], where: Where) -> Iterator[Reason]:
    lost, gained = (Counter(map(str, one)) - Counter(map(str, other)) for one, other in ((old, new), (new, old)))
    if len(old) == len(new) and lost:
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            if not _same(before, after):
                text = _say_digest(f"{slot}[{index}]", before, after)
                item = f"{place}[{index}]"
                yield _reason("input", item, before, after, text, _locate(where, item))
        return
    counts = [f"{found.total()} {word}" for found, word in ((gained, "added"), (lost, "removed")) if found]
    text = f"{slot}: {', '.join(counts) or 'the same artifacts in another order'}"
    yield _reason("input", place, old, new, text, _locate(where, place))


def _explain_sources(path: str, old: _Side, new: _Side, where: Where) -> Iterator[Reason]:
    for field, before, after in _members(old, new):
        place, text, at = f"{path}.{field}", _say(field, before, after), _locate(where, f"with.{field}")
        if (
            isinstance(before, dict)
            and isinstance(after, dict)
            and {"files", "signature"} <= before.keys() & after.keys()
        ):
            place = f"{place}.signature"
            was, now = before["files"], after["files"]
            said = f"{was} -> {now} files" if was != now else f"names, sizes or times of its {now} files changed"
            before, after, text = before["signature"], after["signature"], f"{field}: {said}"
        yield _reason("source", place, before, after, text, at)


_SECTIONS: Final[Mapping[str, Callable[[str, _Side, _Side, Where], Iterator[Reason]]]] = {
    "stage": _explain_config,
    "version": _explain_version,
    "config": _explain_config,
    "inputs": _explain_inputs,
    "sources": _explain_sources,
    "code": _explain_code,
    "libraries": _explain_libraries,
}
_SPEC_NAMES: Final = {"stage": "uses", "config": "with", "ranks": "resources.ranks"}


# ---------------------------------------------------------------- differences


def _same(old: object, new: object) -> bool:
    """Equality of canonical JSON: 1, 1.0 and true are three values."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return type(old) is type(new) and old == new


def _differences(path: str, old: _Side, new: _Side) -> Iterator[tuple[str, _Side, _Side]]:
    """The smallest places that differ; lists of different lengths differ as a whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, before, after in _members(old, new):
            yield from _differences(f"{path}.{name}", before, after)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{path}[{index}]", before, after)
    elif not _same(old, new):
        yield path, old, new


def _members(old: _Side, new: _Side) -> Iterator[tuple[str, _Side, _Side]]:
    before, after = (side if isinstance(side, dict) else {} for side in (old, new))
    for name in dict.fromkeys([*after, *before]):
        one, other = before.get(name, MISSING), after.get(name, MISSING)
        if not _same(one, other):
            yield name, one, other


def _leaves(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


# ---------------------------------------------------------------- sentences


def _reason(kind: ReasonKind, path: str, old: _Side, new: _Side, text: str, where: str | None = None) -> Reason:
    before, after = (None if isinstance(side, _Missing) else side for side in (old, new))
    return Reason(kind, path, before, after, text, where)


def _locate(where: Where, path: str) -> str | None:
    """Where `path` stands, or the nearest mapping or list around it below the section itself."""
    while True:
        found = where(path)
        outer = re.sub(r"(\.[^.\[\]]*|\[\d+\])$", "", path)
        if found is not None or outer == path or "." not in outer:
            return found
        path = outer


def _say(what: str, old: _Side, new: _Side) -> str:
    if isinstance(old, _Missing):
        return f"{what}: added" + ("" if isinstance(new, _Missing) else f", {show(new)}")
    if isinstance(new, _Missing):
        return f"{what}: removed, was {show(old)}"
    return f"{what}: {show_change(old, new)}"


def _say_digest(slot: str, old: _Side, new: _Side) -> str:
    if isinstance(old, _Missing):
        return f"{slot}: newly connected"
    if isinstance(new, _Missing):
        return f"{slot}: no longer connected"
    if isinstance(old, str) and isinstance(new, str):
        return f"{slot}: other content ({old[:8]} -> {new[:8]})"
    return _say(slot, old, new)
