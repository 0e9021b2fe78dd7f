"""Latent caches on disk: written once by ``encode.latents``, read by index in any order.

A shard is a safetensors file of one tensor ``latents`` [n, variants, 2, C, H, W]: sample, variant (as it is, and
mirrored left to right if the cache has mirror images), then z0 and z_y. Where a finished model's answers are kept
(``encode.one_step``) they are one latent instead of two: the facet `parts`. Its one metadata entry ``keys`` names the
samples in order, one a line. So all of a sample in one variant lies together and is read by one positioned read; the
place of sample n follows from the header, and ``index.parquet`` holds it (key, shard, offset and size of all its
variants, and the CRC-32 of each: numbers of a tensor would hide a wrong bit, where a PNG does not decode). Shape and
type are facets of the artifact.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.stage import Artifact, StageError
from stages.data.ranges import RangeReader
from stages.data.tables import INDEX

if TYPE_CHECKING:
    import pyarrow

TYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SAFETENSORS: Final = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
CHECKS: Final = ("crc32", "crc32_mirrored")
"""Of a sample as it is, and of its mirror image where there is one."""
COLUMNS: Final = {"key": "string", "shard": "string"} | dict.fromkeys(("offset", "size", *CHECKS), "int64")


class LatentWriter:
    """Writes one shard, sample by sample. `shape` is (variants, parts, C, H, W) and `dtype` a name of :data:`TYPES`."""

    def __init__(self, path: Path, keys: Sequence[str], shape: Sequence[int], dtype: str) -> None:
        self.path, self.keys, self.dtype = path, keys, TYPES[dtype]
        self.size = int(np.prod(shape)) * self.dtype.itemsize
        tensor = {
            "dtype": _SAFETENSORS[dtype], "shape": [len(keys), *shape], "data_offsets": [0, len(keys) * self.size],
        }  # fmt: skip
        text = json.dumps({"__metadata__": {"keys": "\n".join(keys)}, "latents": tensor}, separators=(",", ":"))
        head = text.encode() + b" " * (-len(text.encode()) % 8)
        self.start = 8 + len(head)
        self._file = path.open("wb")
        self._file.write(len(head).to_bytes(8, "little") + head)
        self._checks: list[dict[str, int]] = []

    def add(self, latents: Tensor) -> None:
        """Append samples: [b, variants, parts, C, H, W], any float type on any device, rounded to the shard's."""
        plain = latents.to("cpu", self.dtype).contiguous()
        for sample in plain:
            parts = [variant.view(torch.uint8).numpy().data for variant in sample]
            self._file.writelines(parts)
            self._checks.append(dict(zip(CHECKS, map(zlib.crc32, parts), strict=False)))

    def close(self) -> list[dict[str, Any]]:
        """The rows of the index (:data:`COLUMNS`). Raises ValueError when samples are missing or too many."""
        self._file.close()
        expected, found = self.start + len(self.keys) * self.size, self.path.stat().st_size
        if found != expected:
            raise ValueError(f"{self.path.name}: expected {expected} bytes for {len(self.keys)} samples, got {found}")
        places = range(self.start, expected, self.size)
        name = self.path.name
        return [
            {"key": key, "shard": name, "offset": offset, "size": self.size, **checks}
            for key, offset, checks in zip(self.keys, places, self._checks, strict=True)
        ]


@dataclass(frozen=True)
class LatentIndex:
    """The latents of a set of pairs, by the position that a pair has there. Safe to read from several threads.

    `rows` are rows of `table`, one a pair. `shape` is (C, H, W).
    """

    artifact: Artifact
    table: pyarrow.Table
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    shape: tuple[int, int, int]
    dtype: torch.dtype
    variants: int
    files: RangeReader
    parts: int = 2

    @classmethod
    def of_pairs(cls, artifact: Artifact, keys: pyarrow.ChunkedArray) -> LatentIndex:
        """The latents of `artifact` of the samples called `keys`, in their order. Raises StageError for one it lacks.

        All are looked for at once, so that an incomplete cache is found before the first step.
        """
        import pyarrow.compute as pc
        import pyarrow.parquet

        table = pyarrow.parquet.ParquetFile(artifact.open(INDEX)).read().combine_chunks()
        rows = pc.index_in(keys, table["key"].combine_chunks())
        if rows.null_count:
            first = keys.filter(pc.is_null(rows))[0].as_py()
            raise StageError(
                f"{artifact.label}: no latents of {first} and {rows.null_count - 1} more of {len(keys)} pairs; "
                "encode these pairs (encode.latents), or connect those that were encoded"
            )
        facets: Mapping[str, Any] = artifact.facets
        return cls(
            artifact,
            table,
            np.asarray(rows.to_numpy()).astype(np.int64, copy=False),
            np.asarray(table["offset"].to_numpy()),
            (facets["channels"], facets["height"], facets["width"]),
            TYPES[facets["dtype"]],
            2 if facets["mirrored"] else 1,
            RangeReader(artifact),
            facets.get("parts", 2),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int, mirrored: bool = False) -> Tensor:
        """(z0, z_y) of pair `i`, or of its mirror image: [2, C, H, W] as stored; [1, C, H, W] of a model's answers.

        Raises StageError for mirror images that the cache lacks, and for bytes that are not those that were written.
        """
        if mirrored and self.variants == 1:
            raise StageError(f"{self.artifact.label} has no mirror images; encode with mirrored: true")
        row = int(self.rows[i])
        size = self.parts * int(np.prod(self.shape)) * self.dtype.itemsize
        offset = int(self.offsets[row]) + (size if mirrored else 0)
        shard, key = str(self.table["shard"][row]), str(self.table["key"][row])
        data = self.files.read(shard, offset, size, f"the latents of {key}")
        if zlib.crc32(data) != self.table[CHECKS[mirrored]][row].as_py():
            raise StageError(
                f"{self.artifact.label}: the latents of {key} in {shard} are damaged; `sharpline repair` makes {shard} "
                "again"
            )
        return torch.frombuffer(bytearray(data), dtype=self.dtype).view(self.parts, *self.shape)
