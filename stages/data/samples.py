"""Reading stored pairs by index: any sample at any time, by the byte range that the index gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.stage import Artifact
from stages.data.index import LrReader, PairIndex, PairReader, Pixels, int64, read_rows, read_shard_rows
from stages.data.kept import Kept
from stages.data.pixels import decode_rgb
from stages.data.ranges import RangeReader

Part = Literal["hr", "lr", "json"]

_TEXT = ("key", "shard", "split", "image")
_NUMBERS = ("crop", "hr_offset", "hr_size", "lr_offset", "lr_size", "json_offset", "json_size")
_SIDES = ("r_hr_height", "r_hr_width")


@dataclass(frozen=True)
class SampleIndex(PairIndex):
    """Where the samples of one `samples` artifact lie. Byte ranges are int64 arrays of length ``len(index)``."""

    numbers: Mapping[str, NDArray[np.int64]]
    files: RangeReader

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, split: str | Sequence[str] | None = None) -> SampleIndex:
        """Load the index of `artifact`, only the rows of `split` (one, several, or all when None).

        Raises StageError when no sample is left, saying which splits there are.
        """
        table = read_rows(artifact, [*_TEXT, *_NUMBERS, *_SIDES], split)
        return cls(artifact, table, {name: int64(table, name) for name in _NUMBERS}, RangeReader(artifact))

    @classmethod
    def of_shard(cls, artifact: Artifact, shard: str) -> SampleIndex:
        """The samples of one shard, in the order of their keys; of a large index only that part is read."""
        table = read_shard_rows(artifact, [*_TEXT, *_NUMBERS, *_SIDES], shard)
        return cls(artifact, table, {name: int64(table, name) for name in _NUMBERS}, RangeReader(artifact))

    def key(self, i: int, epoch: int = 0) -> str:
        """The key of sample `i`, as it is called in its shard."""
        return str(self.table["key"][int(i)])

    def read(self, i: int, part: Part) -> bytes:
        """The encoded bytes of one member of sample `i`, by a positioned read of its shard (fetched once if remote)."""
        shard = str(self.table["shard"][int(i)])
        offset, size = int(self.numbers[f"{part}_offset"][i]), int(self.numbers[f"{part}_size"][i])
        return self.files.read(shard, offset, size, f"{self.key(i)}.{part}")

    def read_pair(self, i: int, epoch: int = 0) -> tuple[Pixels, Pixels]:
        """Sample `i` as (lr, hr), the same in every epoch: uint8 RGB, (h, w, 3) and (scale h, scale w, 3)."""
        return decode_rgb(self.read(i, "lr")), decode_rgb(self.read(i, "hr"))

    def reader(self, budget: int) -> PairReader:
        """:meth:`read_pair` that keeps decoded pairs in memory, up to `budget` bytes."""
        kept: Kept[tuple[Pixels, Pixels]] = Kept(budget)

        def decode(i: int) -> tuple[tuple[Pixels, Pixels], int]:
            lr, hr = self.read_pair(i)
            return (lr, hr), lr.nbytes + hr.nbytes

        def read(i: int, _epoch: int) -> tuple[Pixels, Pixels]:
            return kept.get(i, lambda: decode(i))

        return read

    def lr_reader(self, budget: int) -> LrReader:
        """The LR image alone, for what needs no HR, with decoded ones kept up to `budget` bytes."""
        kept: Kept[Pixels] = Kept(budget)

        def decode(i: int) -> tuple[Pixels, int]:
            lr = decode_rgb(self.read(i, "lr"))
            return lr, lr.nbytes

        def read(i: int, _epoch: int) -> Pixels:
            return kept.get(i, lambda: decode(i))

        return read

    def hr_sizes(self) -> NDArray[np.int64]:
        """(height, width) of every HR image, [n, 2]. Foreign shards do not say: there it is that of the first."""
        if all(name in self.table.column_names for name in _SIDES):
            return np.stack([int64(self.table, name) for name in _SIDES], axis=1)
        height, width = self.read_pair(0)[1].shape[:2]
        return np.broadcast_to(np.array([height, width], np.int64), (len(self), 2))
