"""What a field of a stage's config is, found by walking its type annotations."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic

from pipelines.stage import FieldRole, is_file_name

Path = tuple[str | int, ...]


_LOCATIONS = frozenset({"source", "name-or-file"})


def is_location(config: type[pydantic.BaseModel], path: Path, value: str) -> bool:
    """Whether `value` at `path` of a ``with:`` section is a location: typed ``Source``, or a file's ``NameOrFile``."""
    if not has_locations(config):
        return False
    roles = set(_roles_at(config, path))
    return "source" in roles or ("name-or-file" in roles and is_file_name(value))


@lru_cache(maxsize=512)
def has_locations(config: type[pydantic.BaseModel]) -> bool:
    """Whether any field of `config`, at any depth, may hold a location."""
    return any(role in _LOCATIONS for role in _roles_below(config, frozenset()))


def field_role(field: pydantic.fields.FieldInfo) -> str:
    """``identity``, ``execution``, ``extendable``, ``source`` or ``name-or-file``."""
    roles = [mark.role for mark in field.metadata if isinstance(mark, FieldRole)]
    inner = (role for role in _roles_here(field.annotation))
    return roles[0] if roles else next(inner, "identity")


def fields_at(config: type[pydantic.BaseModel], path: Path) -> dict[str, pydantic.fields.FieldInfo]:
    """The fields that a section at `path` may have: those of every model that can stand there."""
    found: dict[str, pydantic.fields.FieldInfo] = {}
    for annotation, _ in _walk(config, path):
        for model in _models(annotation):
            found.update(model.model_fields)
    return found


def _roles_at(config: type[pydantic.BaseModel], path: Path) -> Iterator[str]:
    for annotation, metadata in _walk(config, path):
        yield from (mark.role for mark in metadata if isinstance(mark, FieldRole))
        yield from _roles_here(annotation)


def _roles_here(annotation: Any) -> Iterator[str]:
    """Roles of the value itself: through ``Annotated`` and unions, not into collections."""
    for option in _options(annotation):
        if get_origin(option) is Annotated:
            yield from (mark.role for mark in option.__metadata__ if isinstance(mark, FieldRole))
            yield from _roles_here(option.__origin__)


def _roles_below(annotation: Any, seen: frozenset[type]) -> Iterator[str]:
    yield from _roles_here(annotation)
    for option in _options(annotation):
        bare = option.__origin__ if get_origin(option) is Annotated else option
        if isinstance(bare, type) and issubclass(bare, pydantic.BaseModel):
            if bare not in seen:
                for field in bare.model_fields.values():
                    yield from (mark.role for mark in field.metadata if isinstance(mark, FieldRole))
                    yield from _roles_below(field.annotation, seen | {bare})
        else:
            for part in get_args(bare):
                yield from _roles_below(part, seen)


def _walk(annotation: Any, path: Path, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every annotation (with its metadata) that may stand at `path` below `annotation`."""
    if not path:
        yield annotation, metadata
        return
    head, rest = path[0], path[1:]
    for option in _options(annotation):
        bare = option.__origin__ if get_origin(option) is Annotated else option
        if bare is not option and get_origin(bare) in (Union, types.UnionType):
            yield from _walk(bare, path)
        elif isinstance(bare, type) and issubclass(bare, pydantic.BaseModel):
            if isinstance(head, str) and head in bare.model_fields:
                field = bare.model_fields[head]
                yield from _walk(field.annotation, rest, tuple(field.metadata))
        elif get_origin(bare) in (dict,) and isinstance(head, str):
            yield from _walk(get_args(bare)[1], rest)
        elif get_origin(bare) is not None and isinstance(head, int):
            yield from _walk(_item(bare, head), rest)


def _item(annotation: Any, index: int) -> Any:
    args = get_args(annotation)
    if get_origin(annotation) is tuple and len(args) > 1 and args[1] is not Ellipsis:
        return args[index] if index < len(args) else Any
    return args[0] if args else Any


def _models(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    for option in _options(annotation):
        if get_origin(option) is Annotated:
            yield from _models(option.__origin__)
        elif isinstance(option, type) and issubclass(option, pydantic.BaseModel):
            yield option


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
