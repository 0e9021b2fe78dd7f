"""The identity of a typed config: what of it may enter a key, decided by the types of its fields.

Deny-list, never allow-list: every field is identity unless its type says `Execution` or `Source`, so a field
that somebody forgets can cost a rebuild but never serve a stale result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import pydantic

from pipelines.canonical import Json, NotCanonical, normalise
from pipelines.stage import Absent, FieldRole, is_file_name

NEVER_IDENTITY: Final = frozenset({"execution", "source"})
"""Roles that no key knows."""


@dataclass(frozen=True, slots=True)
class _Marks:
    role: str | None
    absent: Absent | None


def dump(config: pydantic.BaseModel, drop: frozenset[str] = NEVER_IDENTITY) -> dict[str, Json]:
    """`config` as canonical JSON without fields whose role is in `drop` and without fields at their absent value.

    Nested models, also inside lists, tuples and mappings, follow the same rules. A model enters by its fields
    and not by its class name, so renaming a class changes no key. Raises :class:`NotCanonical` naming the
    field's path (``with.optimizer.betas[0]``).
    """
    result = normalise(_plain(config, drop), "with")
    assert isinstance(result, dict)
    return result


def prune(
    stated: Mapping[str, Any], config: pydantic.BaseModel, drop: frozenset[str] = NEVER_IDENTITY
) -> dict[str, Json]:
    """A stage's own `identity()` under the same rules, wherever its names match fields of `config`.

    `stated` may hold models (dumped like any other) beside plain values.
    """
    result = normalise(_prune(_plain(stated, drop), config, drop), "with")
    assert isinstance(result, dict)
    return result


def source_fields(value: object, path: str = "") -> Iterator[str]:
    """Paths (``photos``, ``extra.files``, ``sets[0].photos``) of `Source` fields that hold a location."""
    if isinstance(value, pydantic.BaseModel):
        for name, marks in _marks(type(value)).items():
            inner, place = getattr(value, name), f"{path}.{name}" if path else name
            if marks.role != "source":
                yield from source_fields(inner, place)
            elif inner:
                yield place
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from source_fields(item, f"{path}[{index}]")


def _plain(value: object, drop: frozenset[str]) -> Any:
    """Models become mappings, enums their values; every other leaf is left for `normalise` to accept or refuse."""
    if isinstance(value, pydantic.BaseModel):
        return _plain_model(value, drop)
    if isinstance(value, Enum):
        return _plain(value.value, drop)
    if isinstance(value, Mapping):
        return {key.value if isinstance(key, Enum) else key: _plain(item, drop) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, drop) for item in value]
    return value


def _plain_model(model: pydantic.BaseModel, drop: frozenset[str]) -> dict[str, Any]:
    fields = {name: getattr(model, name) for name in _marks(type(model))}
    fields |= model.model_extra or {}
    return _without(fields, type(model), drop)


def _without(values: Mapping[str, Any], model: type[pydantic.BaseModel], drop: frozenset[str]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        marks = _marks(model).get(name, _Marks(None, None))
        if marks.role in drop:
            continue
        plain = _plain(value, drop)
        if marks.role == "name-or-file" and isinstance(plain, str) and is_file_name(plain):
            raise NotCanonical(
                f"with.{name}: {plain} is a file, and where it lies is not identity; "
                "the stage's identity() has to give what is in it"
            )
        if marks.absent is None or not _equal(plain, _plain(marks.absent.value, drop)):
            kept[name] = plain
    return kept


def _prune(stated: Any, value: object, drop: frozenset[str]) -> Any:
    """Walk a stated identity and the config value of the same name side by side."""
    if isinstance(value, pydantic.BaseModel) and isinstance(stated, dict):
        kept = _without(stated, type(value), drop)
        return {name: _prune(item, getattr(value, name, None), drop) for name, item in kept.items()}
    if isinstance(value, Mapping) and isinstance(stated, dict):
        return {name: _prune(item, value.get(name), drop) for name, item in stated.items()}
    if isinstance(value, (list, tuple)) and isinstance(stated, list) and len(value) == len(stated):
        return [_prune(item, part, drop) for item, part in zip(stated, value, strict=True)]
    return stated


def _equal(one: object, other: object) -> bool:
    """Python equality except that a boolean is never a number: ``Absent(1)`` fits a float field at 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


@cache
def _marks(model: type[pydantic.BaseModel]) -> dict[str, _Marks]:
    """Role and absent value of each field; a mark inside ``Execution[int] | None`` or ``list[Source]`` counts."""
    marks = {}
    for name, field in model.model_fields.items():
        found = [*field.metadata, *_nested_metadata(field.annotation)]
        roles = {item.role for item in found if isinstance(item, FieldRole)}
        absent = [item for item in found if isinstance(item, Absent)]
        if len(roles) > 1 or len(absent) > 1:
            raise TypeError(
                f"{model.__qualname__}.{name}: expected at most one role and one Absent(), "
                f"came {sorted(roles)} and {absent}; split the field"
            )
        marks[name] = _Marks(next(iter(roles), None), next(iter(absent), None))
    return marks


def _nested_metadata(annotation: Any) -> Iterator[object]:
    annotation = getattr(annotation, "__value__", annotation)  # what a `type X = ...` alias stands for
    origin = get_origin(annotation)
    if origin is Literal:
        return
    arguments = get_args(annotation)
    if origin is Annotated:
        yield from arguments[1:]
        arguments = arguments[:1]
    for argument in arguments:
        yield from _nested_metadata(argument)
