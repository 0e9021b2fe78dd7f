"""What there is to see of an artifact: filled in by an inspector, shown as text, HTML or a contact sheet.

An inspector is a function ``inspect(built: pipelines.lookup.Built, look: Look) -> Inspection`` behind an entry point of
the group ``sharpline.inspectors``. The entry point's name says what it is for: ``kind/role`` (``samples/pairs``) or a
whole kind (``model``). Its module is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Look:
    """What was asked for: `count` items chosen by `seed` among those for which all of `where` holds.

    `pictures` is false where nobody would see any: then none need be read.
    """

    count: int = 24
    seed: int = 0
    where: tuple[str, ...] = ()
    pictures: bool = True


@dataclass(frozen=True, slots=True)
class Figure:
    """One item: pictures (label, encoded PNG, JPEG or WebP) side by side, and what is known of it in short phrases."""

    name: str
    pictures: tuple[tuple[str, bytes], ...]
    notes: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a number is distributed: `counts` in equal bins from `low` to `high`.

    `least` and `most` are the extremes that occur, `stated` the range that the settings give. `bins` of whole numbers
    start at their value.
    """

    name: str
    low: float
    high: float
    counts: tuple[int, ...]
    least: float
    most: float
    mean: float
    stated: tuple[float, float] | None = None

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Names:
    """How often each name occurs, the most frequent first; `others` counts those beyond. `stated` are shares of 1."""

    name: str
    counts: Mapping[str, int]
    others: int = 0
    stated: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values()) + self.others


@dataclass(frozen=True, slots=True)
class Group:
    """Distributions that belong together (those of one operator). `note` says how often it was applied."""

    name: str
    note: str
    members: tuple[Numbers | Names, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """An artifact as people see it. `facts` are (name, value). `contact_sheet` draws the figures into one PNG."""

    facts: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...] = ()
    groups: tuple[Group, ...] = ()
    chosen: int = 0
    total: int = 0
    unit: str = "items"
    contact_sheet: Callable[[], bytes] | None = None
