"""Reading sharded pairs by index: any sample at any time, by the byte range that the index gives."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.stage import Artifact, StageError
from stages.data.pixels import decode_rgb
from stages.data.tables import INDEX

if TYPE_CHECKING:
    import pyarrow

Part = Literal["hr", "lr", "json"]

_TEXT = ("key", "shard", "split", "image")
_NUMBERS = ("crop", "hr_offset", "hr_size", "lr_offset", "lr_size", "json_offset", "json_size")


@dataclass(frozen=True)
class SampleIndex:
    """Where the samples of one `samples` artifact lie, in the order of its index (shard, then key).

    Text stays in Arrow form (a data set of 20 million samples would otherwise be gigabytes of Python
    strings); byte ranges are int64 arrays of length ``len(index)``.
    """

    artifact: Artifact
    table: pyarrow.Table
    numbers: Mapping[str, NDArray[np.int64]]
    _paths: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, split: str | Sequence[str] | None = None) -> SampleIndex:
        """Load the index of `artifact`, only the rows of `split` (one, several, or all when None).

        Raises StageError when no sample is left, saying which splits there are.
        """
        import pyarrow
        import pyarrow.compute as pc
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(artifact.open(INDEX), columns=[*_TEXT, *_NUMBERS])
        wanted = [split] if isinstance(split, str) else split
        kept = table if wanted is None else table.filter(pc.is_in(table["split"], pyarrow.array(wanted)))
        if not kept.num_rows:
            have = {str(item["values"]): item["counts"] for item in table["split"].value_counts().to_pylist()}
            raise StageError(
                f"{artifact.label}: no sample of split {' or '.join(wanted or ['any'])}; "
                f"it has {have or 'no samples at all'}. "
                "Add images, or change the fractions of `split` where they are ingested"
            )
        kept = kept.combine_chunks()
        return cls(artifact, kept, {name: kept[name].to_numpy().astype(np.int64, copy=False) for name in _NUMBERS})

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array: text as Python strings, numbers as integers."""
        return np.asarray(self.table[name].to_numpy())

    def key(self, i: int) -> str:
        """The key of sample `i`, as it is called in its shard."""
        return str(self.table["key"][int(i)])

    @property
    def images(self) -> list[str]:
        """The sha256 of every source image behind the samples, sorted, each once: a trained model's provenance."""
        return sorted(self.table["image"].unique().to_pylist())

    def read(self, i: int, part: Part) -> bytes:
        """The encoded bytes of one member of sample `i`, by a positioned read of its shard (fetched once if remote)."""
        shard = str(self.table["shard"][int(i)])
        offset, size = int(self.numbers[f"{part}_offset"][i]), int(self.numbers[f"{part}_size"][i])
        file = self._open(shard)
        try:
            data = os.pread(file, size, offset)
        finally:
            os.close(file)
        if len(data) != size:
            raise StageError(
                f"{self.artifact.label}: {shard} ends inside {self.key(i)}.{part} "
                f"(expected {size} bytes at {offset}, got {len(data)}); the shard is damaged"
            )
        return data

    def read_pair(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Sample `i` as (lr, hr): uint8 RGB, shapes (h, w, 3) and (scale h, scale w, 3)."""
        return decode_rgb(self.read(i, "lr")), decode_rgb(self.read(i, "hr"))

    def _open(self, shard: str) -> int:
        if shard in self._paths:
            try:
                return os.open(self._paths[shard], os.O_RDONLY)
            except FileNotFoundError:  # a local cache of a remote store may have dropped it
                pass
        self._paths[shard] = self.artifact.open(shard)
        return os.open(self._paths[shard], os.O_RDONLY)
