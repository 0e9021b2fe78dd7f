"""Schema numbers: every file of a store says which shape it has, and a newer shape is refused, not guessed at.

A number is raised only when an older reader would misread the file. Adding a field does not raise it:
readers ignore the fields that they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from pipelines.canonical import Json, JsonObject, sha256_hex
from pipelines.errors import Damaged, NewerSchema


def check_schema(data: object, newest: int, where: str) -> None:
    """Refuse `data` unless it is a mapping whose ``schema`` is a number from 1 to `newest`.

    `where` names the file in the message. Raises NewerSchema for a number above `newest`, Damaged for
    anything that was never written by us.
    """
    found = data.get("schema") if isinstance(data, Mapping) else None
    if type(found) is not int or found < 1:
        raise Damaged(f"{where}: expected a JSON object with a schema number, got {_short(data)}; the file is damaged")
    if found > newest:
        raise NewerSchema(
            f"{where}: written by a newer Sharpline (schema {found}, this one reads up to {newest}); "
            "install that version, or use another store"
        )


def encode(data: Mapping[str, Json], schema: int = 1) -> bytes:
    """`data` as one line of JSON with its schema number first (kept when `data` already states one)."""
    body = {"schema": schema, **data}
    return json_line(body)


def json_line(data: object) -> bytes:
    """`data` as one line of strict JSON in UTF-8; what UTF-8 cannot say (undecodable file names) is escaped."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def encode_sealed(data: Mapping[str, Json], schema: int = 1) -> bytes:
    """As :func:`encode`, with a seal over all of it at the end: a flipped bit is seen by :func:`seal_holds`."""
    body = {"schema": schema, **data}
    return json_line({**body, "seal": sha256_hex(json_line(body))})


def seal_holds(data: Mapping[str, Json]) -> bool | None:
    """Whether the parsed `data` is what was sealed; None where it has no seal."""
    if "seal" not in data:
        return None
    try:
        return data["seal"] == sha256_hex(json_line({name: value for name, value in data.items() if name != "seal"}))
    except ValueError:  # NaN, which we never write
        return False


def decode(raw: bytes, newest: int, where: str) -> JsonObject:
    """Parse what :func:`encode` wrote. Raises Damaged, or NewerSchema when it is too new."""
    data = parse(raw, where)
    check_schema(data, newest, where)
    return cast(JsonObject, data)


def parse(raw: bytes, where: str) -> Json:
    """`raw` as JSON. Raises Damaged."""
    try:
        return cast(Json, json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{where}: expected JSON, got {_short(raw)} ({error}); the file is damaged") from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
