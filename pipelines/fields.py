"""Settings of stages: what each field means to keys, and what a unit needs of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import pydantic

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldRole:
    """What a config field means to keys: :data:`Execution`, :data:`Extendable`, :data:`Source`, :data:`NameOrFile`."""

    role: Literal["execution", "extendable", "source", "name-or-file"]


@dataclass(frozen=True, slots=True)
class Absent:
    """``Annotated[int, Absent(1)]``: the field was added after release; the key omits it at this frozen value.

    The value is frozen for ever: changing the field's *default* later changes keys, as it should.
    """

    value: object


Execution = Annotated[T, FieldRole("execution")]
"""A field that cannot change the result's bytes (log cadence, micro-batch, prefetch): never in a key."""

Extendable = Annotated[T, FieldRole("extendable")]
"""A training horizon (``steps``): in the key, but not in the lineage, so that raising it continues."""

Source = Annotated[str, FieldRole("source")]
"""A location outside the store (path, glob, URI). Its listing is identity, the location itself never is."""

NameOrFile = Annotated[str, FieldRole("name-or-file")]
"""A name of something that ships with the stage, or a file of the user's own (see :func:`is_file_name`).

A file is found beside the spec that names it. Where it lies is not identity: :meth:`Stage.identity` has to put
the values behind the name or in the file in its place.
"""


def is_file_name(text: str) -> bool:
    """Whether a :data:`NameOrFile` is a file: it has a folder or a suffix (``./mine.yaml``), which no name has."""
    return "/" in text or bool(Path(text).suffix)


class Config(pydantic.BaseModel):
    """Base of every stage's ``with:`` section: frozen, no unknown fields, no NaN. Defaults are validated."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Resources(pydantic.BaseModel):
    """What one unit of a stage needs (``resources:`` in a spec). Execution only: never part of a key.

    `workers` bounds how many partitions run at once (None: as many as fit).
    `ranks` is how many processes a gang stage runs as (None: one); every rank gets the other amounts. The one thing
    here that may be part of a key: two ranks add up in another order than one, so where an output is declared
    reproducible, more than one rank is identity.
    `memory` is in bytes. `custom` names custom Ray resources.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    workers: pydantic.PositiveInt | None = None
    ranks: pydantic.PositiveInt | None = None
    cpus: pydantic.NonNegativeFloat | None = None
    gpus: pydantic.NonNegativeFloat | None = None
    memory: pydantic.PositiveInt | None = None
    custom: dict[str, float] = pydantic.Field(default_factory=dict)
