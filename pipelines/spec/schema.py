"""The JSON Schema of specs, for editors.

It says what an editor can check while one types: fields, types, docs and the config that goes with each
``uses``. Names, edges, kinds and facets are left to ``sharpline validate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from pipelines.canonical import Json, JsonObject
from pipelines.spec.shape import SPEC_NAME, STAGE_FIELDS, STAGE_NAME, TOP_FIELDS
from pipelines.spec.versions import CURRENT
from pipelines.stage import Input, Resources, Stage

_INSERTION: JsonObject = {"type": "string", "pattern": r"\$\((params|matrix|env)\."}
_SCALARS = ("integer", "number", "boolean")
_DEFS = "#/$defs/"


def spec_schema(stages: Sequence[type[Stage]]) -> JsonObject:
    """The schema of specs that may use `stages` by name (and any ``package.module:Class``).

    A spec with ``extends`` may leave out what its layers give, so there nothing is required.
    """
    models: list[Any] = [(stage.Config, "validation") for stage in stages]
    refs, defined = models_json_schema([*models, (Resources, "validation")], ref_template=_DEFS + "{model}")
    definitions: dict[str, Any] = defined.get("$defs", {})
    defs: dict[str, Any] = {name: _with_insertions(schema) for name, schema in definitions.items()}
    configs = {stage.name: refs[(stage.Config, "validation")] for stage in stages}
    resources = refs[(Resources, "validation")]
    partial = {name: _partial(defs, schema) for name, schema in configs.items()}
    defs["stage"] = {**_stage(stages, configs, resources), "required": ["uses"]}
    defs["layer"] = _stage(stages, partial, resources)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Sharpline spec, version {CURRENT}",
        "type": "object",
        "properties": _top_fields(),
        "additionalProperties": False,
        "required": ["sharpline"],
        "if": {"required": ["extends"]},
        "then": {"properties": {"stages": _stages("layer")}},
        "else": {"properties": {"stages": _stages("stage")}, "required": ["name", "stages"]},
        "$defs": defs,
    }


def _top_fields() -> JsonObject:
    paths: JsonObject = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    forms: dict[str, JsonObject] = {
        "sharpline": {"const": CURRENT},
        "name": {"type": "string", "pattern": f"^{SPEC_NAME.pattern}$"},
        "params": {"type": "object"},
        "store": {"type": "string"},
        "code": paths,
        "extends": paths,
        "stages": {"type": "object"},
        "notes": {"type": "string"},
    }
    return {name: {**forms[name], "description": doc} for name, doc in TOP_FIELDS.items()}


def _stages(definition: str) -> JsonObject:
    deletable: list[Json] = [{"$ref": _DEFS + definition}]
    if definition == "layer":
        deletable.append({"type": "null"})
    return {"patternProperties": {f"^{STAGE_NAME.pattern}$": {"anyOf": deletable}}, "additionalProperties": False}


def _stage(stages: Sequence[type[Stage]], configs: dict[str, Any], resources: Any) -> JsonObject:
    """One stage: its fixed fields, and for every known `uses` the config and slots that go with it."""
    known: list[Json] = [stage.name for stage in stages]
    axis: JsonObject = {"anyOf": [{"type": "array", "minItems": 1}, _INSERTION]}
    forms: dict[str, Any] = {
        "uses": {"anyOf": [{"enum": known}, {"type": "string", "pattern": ":|\\$\\("}]},
        "with": {"type": ["object", "null"]},
        "inputs": {"type": ["object", "null"]},
        "resources": {"anyOf": [resources, {"type": "null"}]},
        "retries": {"anyOf": [{"type": "integer", "minimum": 0}, _INSERTION]},
        "notes": {"type": "string"},
        "matrix": {"type": "object", "additionalProperties": axis},
    }
    return {
        "type": "object",
        "properties": {name: {**forms[name], "description": doc} for name, doc in STAGE_FIELDS.items()},
        "additionalProperties": False,
        "allOf": [_choice(stage, configs[stage.name]) for stage in stages],
    }


def _choice(stage: type[Stage], config: Any) -> JsonObject:
    slots: JsonObject = {slot: _slot(declared) for slot, declared in stage.inputs.items()}
    inputs: JsonObject = {"type": ["object", "null"], "properties": slots, "additionalProperties": False}
    return {
        "if": {"properties": {"uses": {"const": stage.name}}, "required": ["uses"]},
        "then": {"properties": {"with": {"anyOf": [config, {"type": "null"}]}, "inputs": inputs}},
    }


def _slot(slot: Input) -> JsonObject:
    one: JsonObject = {"type": "string"}
    many: list[Json] = [one, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    form: JsonObject = {"anyOf": many} if slot.many else one
    return {**form, "description": f"{slot.kind}: {slot.doc}" if slot.doc else slot.kind}


def _partial(defs: dict[str, Any], reference: Any) -> Any:
    """A copy of a config's definition in which nothing is required."""
    name = str(reference["$ref"]).removeprefix(_DEFS)
    defs[f"{name}-layer"] = {key: value for key, value in defs[name].items() if key != "required"}
    return {"$ref": f"{_DEFS}{name}-layer"}


def _with_insertions(schema: Any) -> Any:
    """`schema` where a text such as ``$(params.scale)`` may stand for every number, boolean and choice."""
    if isinstance(schema, list):
        return [_with_insertions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in _SCALARS or "enum" in schema or "const" in schema:
        kept = {key: schema[key] for key in ("description", "default", "title") if key in schema}
        form = {key: value for key, value in schema.items() if key not in kept}
        return {"anyOf": [form, _INSERTION], **kept}
    inner = {"properties", "$defs"}
    return {
        key: {name: _with_insertions(item) for name, item in value.items()} if key in inner else _with_insertions(value)
        if key in ("items", "anyOf", "oneOf", "allOf", "prefixItems", "additionalProperties") else value
        for key, value in schema.items()
    }  # fmt: skip
