"""Small `samples` artifacts of LR/HR pairs, laid out as degrade.pairs lays them out, from arrays or from nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.artifact import Entry, Manifest
from stages.data.pixels import encode_png
from stages.data.tables import rows_table, write_table
from stages.data.tar import TarWriter
from tests.support.harness import FolderArtifact

Pixels = NDArray[np.uint8]


def textures(count: int, size: int, seed: int = 0) -> list[Pixels]:
    """`count` smooth colour textures [size, size, 3]: enough structure to learn from, made without files."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (max(2, size // 8), max(2, size // 8), 3), dtype=np.uint8)
        images.append(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))
    return images


def shrink(hr: Pixels, scale: int) -> Pixels:
    """A plain LR image: area down-sampling."""
    return cv2.resize(hr, (hr.shape[1] // scale, hr.shape[0] // scale), interpolation=cv2.INTER_AREA)


def pairs_artifact(
    folder: Path, pairs: Sequence[tuple[Pixels, Pixels]], splits: Sequence[str], *, scale: int = 4, label: str = "pairs"
) -> FolderArtifact:
    """An artifact of (lr, hr) `pairs`, pair i in split `splits[i]`, each from a source image of its own."""
    folder.mkdir(parents=True)
    rows = []
    with TarWriter(folder / "shard-00000.tar") as shard:
        for i, ((lr, hr), split) in enumerate(zip(pairs, splits, strict=True)):
            files = {"hr.png": encode_png(hr), "json": json.dumps({"i": i}).encode(), "lr.png": encode_png(lr)}
            image = hashlib.sha256(files["hr.png"]).hexdigest()
            key = f"{image[:16]}_{0:04d}"
            group = shard.add((f"{key}.{end}", data) for end, data in files.items())
            at = {member.name.partition(".")[2].partition(".")[0]: member for member in group.members}
            rows.append(
                {"key": key, "shard": "shard-00000.tar", "split": split, "image": image, "crop": 0}
                | {"offset": group.offset, "size": group.size, "sha256": group.sha256}
                | {f"{part}_offset": at[part].offset for part in at}
                | {f"{part}_size": at[part].size for part in at}
            )
    write_table(rows_table(sorted(rows, key=lambda row: row["key"]), {}), folder / "index.parquet")
    entries = tuple(_entry(folder / name, name == "index.parquet") for name in ("shard-00000.tar", "index.parquet"))
    facets = {"role": "pairs", "scale": scale, "hr_size": int(pairs[0][1].shape[0])}
    return FolderArtifact(label, folder, Manifest("samples", facets, entries))


def texture_pairs(folder: Path, *, train: int = 4, val: int = 2, hr_size: int = 32, scale: int = 4) -> FolderArtifact:
    """Pairs of random textures with the given number in each split."""
    images = textures(train + val, hr_size)
    pairs = [(shrink(hr, scale), hr) for hr in images]
    return pairs_artifact(folder, pairs, ["train"] * train + ["val"] * val, scale=scale)


def _entry(path: Path, derived: bool) -> Entry:
    data = path.read_bytes()
    return Entry(path.name, hashlib.sha256(data).hexdigest(), len(data), derived)
