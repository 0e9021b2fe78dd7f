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


class PairSource:
    """Pairs as a network wants them: float32 RGB in [0, 1], channels first."""

    def __init__(self, index: SampleIndex) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Sample `i` as (lr, hr), shapes (3, h, w) and (3, scale h, scale w)."""
        lr, hr = self.index.read_pair(i)
        return to_chw(lr), to_chw(hr)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The samples `indices` stacked, shapes (n, 3, h, w) and (n, 3, scale h, scale w)."""
        pairs = [self[int(i)] for i in indices]
        return np.stack([lr for lr, _ in pairs]), np.stack([hr for _, hr in pairs])


def to_chw(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (h, w, 3) in 0..255 to float32 (3, h, w) in [0, 1]."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32) / np.float32(255)
