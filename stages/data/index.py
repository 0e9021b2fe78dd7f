"""Which pairs a `samples` artifact holds: what stored and on-line pairs have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.stage import Artifact, StageError
from stages.data.tables import INDEX

if TYPE_CHECKING:
    import pyarrow

Pixels: TypeAlias = NDArray[np.uint8]
PairReader: TypeAlias = Callable[[int, int], tuple[Pixels, Pixels]]
"""(sample, epoch) -> (lr, hr). Safe to call from several threads."""
LrReader: TypeAlias = Callable[[int, int], Pixels]
"""(sample, epoch) -> lr alone. Safe to call from several threads."""


class Pairs(Protocol):
    """Pairs that are read by position, stored or made as they are read. Safe to read from several threads.

    Where pairs are stored the epoch makes no difference; on-line ones are others in each epoch, and in epoch 0 those
    that would have been stored.
    """

    @property
    def artifact(self) -> Artifact: ...

    def __len__(self) -> int: ...

    @property
    def images(self) -> list[str]:
        """The sha256 of every source image behind the pairs, sorted, each once."""
        ...

    def column(self, name: str) -> NDArray[Any]:
        """One column of the index, among them ``key``, ``split``, ``image`` and ``crop``."""
        ...

    def key(self, i: int, epoch: int = 0) -> str:
        """What pair `i` is called."""
        ...

    def read_pair(self, i: int, epoch: int = 0) -> tuple[Pixels, Pixels]:
        """(lr [h, w, 3], hr [scale h, scale w, 3]) of pair `i`, uint8 RGB."""
        ...

    def reader(self, budget: int) -> PairReader:
        """:meth:`read_pair` with at most `budget` bytes of decoded images kept between calls."""
        ...

    def lr_reader(self, budget: int) -> LrReader:
        """:meth:`reader` for what needs no HR image, which is then not decoded where it is stored."""
        ...

    def hr_sizes(self) -> NDArray[np.int64]:
        """(height, width) of every HR image, [n, 2]; on-line pairs may turn them (:attr:`may_turn`)."""
        ...

    @property
    def may_turn(self) -> bool:
        """Whether height and width of a pair may change places from epoch to epoch."""
        ...


@dataclass(frozen=True)
class PairIndex:
    """The rows of one artifact's index, in its order (shard, then key).

    Text stays in Arrow form: a data set of 20 million samples would otherwise be gigabytes of Python strings.
    """

    artifact: Artifact
    table: pyarrow.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array: text as Python strings, numbers as integers."""
        return np.asarray(self.table[name].to_numpy())

    @property
    def images(self) -> list[str]:
        """The sha256 of every source image behind the samples, sorted, each once: a trained model's provenance."""
        return sorted(self.table["image"].unique().to_pylist())

    @property
    def may_turn(self) -> bool:
        """Whether height and width of a pair may change places from epoch to epoch."""
        return False


def read_rows(artifact: Artifact, columns: Sequence[str], split: str | Sequence[str] | None) -> pyarrow.Table:
    """`columns` of the index, as far as it has them, in one chunk; only the rows of `split` (all when None).

    Raises StageError when no row is left, saying which splits there are.
    """
    import pyarrow
    import pyarrow.compute as pc
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(artifact.open(INDEX))
    known = set(file.schema_arrow.names)
    table = file.read(columns=[name for name in columns if name in known])
    wanted = [split] if isinstance(split, str) else split
    kept = table if wanted is None else table.filter(pc.is_in(table["split"], pyarrow.array(wanted)))
    if not kept.num_rows:
        have = {str(item["values"]): item["counts"] for item in table["split"].value_counts().to_pylist()}
        raise StageError(
            f"{artifact.label}: no sample of split {' or '.join(wanted or ['any'])}; "
            f"it has {have or 'no samples at all'}. "
            "Add images, or change the fractions of `split` where they are ingested"
        )
    return kept.combine_chunks()


def read_shard_rows(artifact: Artifact, columns: Sequence[str], shard: str) -> pyarrow.Table:
    """`columns` of the rows of one shard, as far as the index has them, in key order."""
    import pyarrow.parquet

    path = artifact.open(INDEX)
    known = set(pyarrow.parquet.read_schema(path).names)
    wanted = [name for name in columns if name in known]
    table = pyarrow.parquet.read_table(path, columns=wanted, filters=[("shard", "=", shard)])
    return table.sort_by("key").combine_chunks()


def int64(table: pyarrow.Table, name: str) -> NDArray[np.int64]:
    """One column as int64, without a copy where it already is."""
    return np.asarray(table[name].to_numpy()).astype(np.int64, copy=False)
