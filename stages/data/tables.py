"""Parquet tables with fixed settings: index tables are written by parts and merged when a stage finishes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

INDEX = "index.parquet"


def write_table(table: pyarrow.Table, path: Path) -> None:
    """Write `table` without the writer's own metadata, so that equal tables give equal files."""
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        table.replace_schema_metadata(None), path, compression="zstd", version="2.6", store_schema=False
    )


def rows_table(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> pyarrow.Table:
    """A table of `rows`: the columns of `types` (name -> Arrow type) first, then all others in name order.

    A column of no stated type takes the type of its values; rows that lack it hold null.
    """
    import pyarrow

    others = sorted({name for row in rows for name in row} - set(types))
    columns = {name: pyarrow.array([row.get(name) for row in rows], types.get(name)) for name in [*types, *others]}
    return pyarrow.table(columns)


def merge_tables(paths: Iterable[Path], sort_by: Sequence[str]) -> pyarrow.Table:
    """All rows of the Parquet files `paths`, sorted; a column that a file lacks (or holds only nulls) is null there."""
    import pyarrow
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(path) for path in paths]
    merged = pyarrow.concat_tables(tables, promote_options="permissive")
    return merged.sort_by([(name, "ascending") for name in sort_by]).combine_chunks()
