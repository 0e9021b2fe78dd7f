"""Rows of a sample index: conditions on its columns, and batches of what they let through."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow
    import pyarrow.parquet

BATCH = 1 << 16
_CONDITION = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|!=|==|=|<|>)\s*(.+?)\s*")
_FUNCTIONS = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal", "=": "equal", "==": "equal",
              "!=": "not_equal"}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """`column` compared with `value`; a null (an operator that was not applied) never meets it."""

    column: str
    function: str
    value: Any

    def mask(self, batch: pyarrow.RecordBatch) -> pyarrow.Array:
        """Which rows meet it: booleans."""
        import pyarrow.compute as pc

        return pc.fill_null(pc.call_function(self.function, [batch.column(self.column), self.value]), False)


class Rows:
    """The rows of a Parquet index for which all conditions hold, in batches of bounded size."""

    def __init__(self, path: Path | pyarrow.NativeFile, where: Sequence[str] = ()) -> None:
        import pyarrow.parquet

        # Without read-ahead a batch costs its own pages only: a row group of a large index is hundreds of megabytes.
        self.file = pyarrow.parquet.ParquetFile(path, memory_map=not hasattr(path, "read"), pre_buffer=False)
        self.schema = self.file.schema_arrow
        self.total: int = self.file.metadata.num_rows
        self._conditions = [read_condition(text, self.schema) for text in where]

    def span(self, column: str) -> tuple[Any, Any] | None:
        """The least and greatest value of a column over the whole index; None when it has none."""
        spans = [self._statistics(group, column) for group in range(self.file.metadata.num_row_groups)]
        lows, highs = [s[0] for s in spans if s is not None], [s[1] for s in spans if s is not None]
        return (min(lows), max(highs)) if lows else None

    def _statistics(self, group: int, column: str) -> tuple[Any, Any] | None:
        import pyarrow.compute as pc

        at = self.schema.get_field_index(column)
        found = self.file.metadata.row_group(group).column(at).statistics
        if found is not None and found.has_min_max:
            return found.min, found.max
        limits = pc.min_max(self.file.read_row_group(group, columns=[column])[column]).as_py()
        return None if limits["min"] is None else (limits["min"], limits["max"])

    def batches(self, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
        """Batches of `columns` (and those of the conditions); empty ones are left out."""
        import pyarrow.compute as pc

        wanted = list(dict.fromkeys([*columns, *(condition.column for condition in self._conditions)]))
        for batch in self.file.iter_batches(BATCH, columns=wanted, use_threads=False):
            for condition in self._conditions:
                batch = pc.filter(batch, condition.mask(batch)) if batch.num_rows else batch
            if batch.num_rows:
                yield batch


class Sampled:
    """`count` rows chosen uniformly from any number of batches, the same for the same `seed`; in index order."""

    def __init__(self, count: int, seed: int) -> None:
        import numpy as np

        self._count = count
        self._random = np.random.default_rng(seed)
        self._kept: list[tuple[float, int, dict[str, Any]]] = []
        self._seen = 0

    def add(self, batch: pyarrow.RecordBatch) -> None:
        """Every row draws a number; those with the smallest stay."""
        import numpy as np

        drawn: np.ndarray = self._random.random(batch.num_rows)
        best = np.sort(np.argsort(drawn, kind="stable")[: self._count])
        rows = batch.take(best).to_pylist() if best.size else []
        self._kept += [(float(drawn[at]), self._seen + int(at), row) for at, row in zip(best, rows, strict=True)]
        self._kept = sorted(self._kept, key=lambda item: item[:2])[: self._count]
        self._seen += batch.num_rows

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The chosen rows."""
        return [row for _, _, row in sorted(self._kept, key=lambda item: item[1])]


def read_condition(text: str, schema: pyarrow.Schema) -> Condition:
    """``jpeg1_quality<40``, ``r_blur1_family=iso``, ``split!=train``; columns of the recipe go without their ``r_``.

    Raises UsageError for another form, a column that is not there (with the nearest), and a value of another type.
    """
    import pyarrow

    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"--where {text!r}: expected COLUMN and a comparison, such as jpeg1_quality<40 or split=val")
    given, sign, value = found.groups()
    name = next((known for known in (given, f"r_{given}") if known in schema.names), None)
    if name is None:
        near = difflib.get_close_matches(given, [known.removeprefix("r_") for known in schema.names], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(schema.names)}"
        raise UsageError(f"--where {text!r}: the index has no column {given!r}{hint}")
    kind = schema.field(name).type
    try:
        scalar = pyarrow.scalar(_typed(value, kind))
    except ValueError:
        raise UsageError(f"--where {text!r}: {name.removeprefix('r_')} is of type {kind}, got {value!r}") from None
    return Condition(name, _FUNCTIONS[sign], scalar)


def _typed(text: str, kind: pyarrow.DataType) -> bool | float | str:
    import pyarrow

    if pyarrow.types.is_boolean(kind):
        if text.lower() not in ("true", "false", "yes", "no"):
            raise ValueError(text)
        return text.lower() in ("true", "yes")
    if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
        return float(text)
    return text
