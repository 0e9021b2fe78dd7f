"""A stage as people and tools see it: config fields with type, default, role and doc; inputs; outputs."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import pydantic
from pydantic_core import PydanticUndefined, to_jsonable_python

from pipelines.canonical import Json, JsonObject
from pipelines.spec.roles import field_role
from pipelines.stage import Facets, Input, Output, Stage

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true/false", type(None): "null", Any: "anything"}
_MARKS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("multiple_of", "multiple of "))


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One config field; `name` is dotted for fields of nested sections. `default` is JSON text, None if required."""

    name: str
    type: str
    default: str | None
    role: str
    doc: str


@dataclass(frozen=True, slots=True)
class SlotDoc:
    """One input or output slot."""

    name: str
    kind: str
    facets: Facets
    doc: str
    many: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class StageDoc:
    """Everything about one stage class. `outputs` is None where it cannot be told without a config."""

    name: str
    target: str
    summary: str
    doc: str
    version: int
    code_policy: str
    partitioned: bool
    fields: tuple[FieldDoc, ...]
    inputs: tuple[SlotDoc, ...]
    outputs: tuple[SlotDoc, ...] | None

    def to_json(self) -> JsonObject:
        return cast(JsonObject, {"schema": 1, **asdict(self)})


def describe_stage(stage: type[Stage], name: str | None = None) -> StageDoc:
    """What is known of `stage` from its declarations."""
    doc = inspect.cleandoc(stage.__doc__ or "")
    return StageDoc(
        name=name or stage.name,
        target=f"{stage.__module__}:{stage.__qualname__}",
        summary=doc.partition("\n")[0],
        doc=doc,
        version=stage.version,
        code_policy=stage.code_policy,
        partitioned=stage.is_partitioned(),
        fields=tuple(_fields(stage.Config, "")),
        inputs=tuple(_input(slot, declared) for slot, declared in stage.inputs.items()),
        outputs=_outputs(stage),
    )


def _input(name: str, slot: Input) -> SlotDoc:
    return SlotDoc(name, slot.kind, slot.facets, slot.doc, slot.many, slot.optional)


def _outputs(stage: type[Stage]) -> tuple[SlotDoc, ...] | None:
    """Output slots, asked of a config in which required fields are left open."""
    try:
        found: Mapping[str, Output] = stage.outputs(stage.Config.model_construct(), {})
        return tuple(SlotDoc(name, slot.kind, slot.facets, slot.doc) for name, slot in found.items())
    except Exception:  # the stage needs a whole config to answer
        return None


def _fields(model: type[pydantic.BaseModel], prefix: str) -> Iterator[FieldDoc]:
    for name, field in model.model_fields.items():
        doc = " ".join((field.description or "").split())
        text = type_text(field.annotation) + _bounds(field)
        yield FieldDoc(f"{prefix}{name}", text, _default(field), field_role(field), doc)
        for section in _sections(field.annotation):
            yield from _fields(section, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for part in get_args(annotation):
            yield from _sections(part)


def _default(field: pydantic.fields.FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return None
    shown: Json = to_jsonable_python(value)
    if isinstance(value, pydantic.BaseModel):
        return "(see below)"
    return json.dumps(shown, ensure_ascii=False)


def _bounds(field: pydantic.fields.FieldInfo) -> str:
    found = []
    for mark in field.metadata:
        for name, sign in _MARKS:
            if (bound := getattr(mark, name, None)) is not None:
                found.append(f"{sign} {bound}" if sign[-1] != " " else f"{sign}{bound}")
    return f" {', '.join(found)}" if found else ""


def type_text(annotation: Any) -> str:
    """A type in the words that errors use: ``whole number``, ``list of text``, ``"a" or "b"``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if origin is Annotated:
        return type_text(args[0])
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_text(arg) for arg in args))
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"list of {len(args)}: {', '.join(type_text(arg) for arg in args)}"
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_text(args[0])}" if args else "list"
    if origin is dict:
        return f"mapping to {type_text(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return "section"
    return getattr(annotation, "__name__", str(annotation))
