"""What is counted of all pairs of an index, in one pass over its batches."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipelines.inspection import Group, Names, Numbers

if TYPE_CHECKING:
    import pyarrow

    from degrade.ranges import Stated
    from stages.commands.rows import Rows

_APPLIED = "_applied"
_FRAMING = ("symmetry", "box_y", "box_x", "hr_height", "hr_width")
_DERIVED = re.compile(r"preset|scale|box_(height|width)|.+_(applied|height|width)")
"""Columns that follow from others (sizes from factors), and those that a group's note tells."""


@dataclass
class Census:
    """What is counted of pairs: how many, their bytes and photographs, and every drawn parameter.

    `stated` is what the preset says of the columns.
    """

    rows: Rows
    stated: dict[str, Stated]
    pairs: int = 0
    images: int = 0
    bytes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    last_image: str = ""

    def __post_init__(self) -> None:
        from stages.commands.distributions import distribution

        names = [name for name in self.rows.schema.names if name.startswith("r_")]
        self.operators = [name[2:].removesuffix(_APPLIED) for name in names if name.endswith(_APPLIED)]
        drawn = [name for name in names if name[2:] in _FRAMING or not _DERIVED.fullmatch(name[2:])]
        self.columns = [*drawn, *(f"r_{operator}{_APPLIED}" for operator in self.operators)]
        self.counters = {
            name[2:]: distribution(
                name[2:], self.rows.schema.field(name).type, self._span(name), self.stated.get(name[2:])
            )
            for name in drawn
        }

    def _span(self, name: str) -> tuple[Any, Any] | None:
        import pyarrow.types as types

        kind = self.rows.schema.field(name).type
        return self.rows.span(name) if types.is_integer(kind) or types.is_floating(kind) else None

    def add(self, batch: pyarrow.RecordBatch) -> None:
        """Count the pairs of a batch, which follow those of the batch before in the index."""
        import pyarrow.compute as pc

        self.pairs += batch.num_rows
        self.bytes += pc.sum(batch.column("size")).as_py()
        self._count_images(batch.column("image"))
        for item in pc.value_counts(batch.column("split")).to_pylist():
            self.splits[item["values"]] += item["counts"]
        for operator in self.operators:
            self.applied[operator] += pc.sum(batch.column(f"r_{operator}{_APPLIED}")).as_py() or 0
        for name, counter in self.counters.items():
            counter.add(batch.column(f"r_{name}"))

    def _count_images(self, column: pyarrow.Array) -> None:
        """All pairs of an image lie side by side in the index, so that changes from row to row count the images."""
        import pyarrow.compute as pc

        changes = pc.sum(pc.not_equal(column[1:], column[:-1])).as_py() or 0
        self.images += changes + (column[0].as_py() != self.last_image)
        self.last_image = column[-1].as_py()

    def groups(self) -> list[Group]:
        """Framing and choices first, then the operators in the order of the index."""
        from degrade.wording import SYMMETRIES

        results = {name: counter.result() for name, counter in self.counters.items()}
        turned = results.get("symmetry")
        if isinstance(turned, Names):
            results["symmetry"] = replace(turned, counts={SYMMETRIES[name]: n for name, n in turned.counts.items()})
        shown = {name: found for name, found in results.items() if found is not None and _varies(found)}
        longest_first = sorted(self.operators, key=len, reverse=True)
        owner = {name: next((op for op in longest_first if name.startswith(f"{op}_")), "") for name in shown}
        framing = tuple(shown[name] for name in _FRAMING if name in shown)
        choices = tuple(found for name, found in shown.items() if not owner[name] and name not in _FRAMING)
        made = [
            Group("framing", "where each crop was taken", framing),
            Group("choices", "which way was taken", choices),
        ]
        for operator in self.operators:
            members = tuple(found for name, found in shown.items() if owner[name] == operator)
            note = f"applied to {_share(self.applied[operator] / self.pairs)}"
            made.append(Group(operator, note, members))
        return [group for group in made if group.members or group.name in self.operators]


def _varies(found: Numbers | Names) -> bool:
    """Whether there is anything to see: framing of one size, or an option without alternative, is not."""
    if isinstance(found, Numbers):
        return found.most > found.least or (found.stated is not None and found.stated[1] > found.stated[0])
    return len(found.counts) > 1 or len(found.stated) > 1


def _share(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.3g} %"
