"""Samples are read by index, whole and in the form that networks want."""

import pickle

import numpy as np
import pytest

from pipelines.artifact import Entry, Manifest
from pipelines.stage import StageError
from stages.data.pixels import encode_png
from stages.data.samples import SampleIndex
from stages.data.tables import merge_tables, rows_table, write_table
from stages.data.tar import TarWriter
from stages.synthesis.writer import COLUMNS
from tests.support.harness import FolderArtifact


@pytest.fixture
def made(tmp_path):
    """Two shards of three samples, and their pixels by key."""
    random = np.random.default_rng(0)
    pixels, parts = {}, []
    for shard in ("shard-00000.tar", "shard-00001.tar"):
        rows = []
        with TarWriter(tmp_path / shard) as tar:
            for crop in range(3):
                key = f"{int(shard[6:11]):016x}_{crop:04d}"
                hr, lr = (random.integers(0, 256, (size, size, 3), np.uint8) for size in (16, 4))
                pixels[key] = lr, hr
                files = [(f"{key}.hr.png", encode_png(hr)), (f"{key}.json", b"{}"), (f"{key}.lr.png", encode_png(lr))]
                at = dict(zip(("hr", "json", "lr"), tar.add(files).members, strict=True))
                row = {"key": key, "shard": shard, "image": key[:16] * 4, "crop": crop}
                row["split"] = "val" if crop == 1 else "train"
                row |= {f"{part}_offset": m.offset for part, m in at.items()}
                row |= {f"{part}_size": m.size for part, m in at.items()}
                rows.append(row)
        parts.append(tmp_path / f"{shard}.parquet")
        write_table(rows_table(rows, COLUMNS), parts[-1])
    write_table(merge_tables(reversed(parts), ["shard", "key"]), tmp_path / "index.parquet")
    names = ("index.parquet", "shard-00000.tar", "shard-00001.tar")
    entries = tuple(Entry(name, "0" * 64, 0) for name in names)
    return FolderArtifact("pairs", tmp_path, Manifest("samples", {}, entries)), pixels


def test_pairs_are_what_was_written(made):
    artifact, pixels = made
    index = SampleIndex.from_artifact(artifact)
    assert [index.key(i) for i in range(len(index))] == sorted(pixels)
    for i in (5, 0, 3):
        for read, written in zip(index.read_pair(i), pixels[index.key(i)], strict=True):
            np.testing.assert_array_equal(read, written)
    assert index.images == [f"{shard:016x}" * 4 for shard in (0, 1)]
    assert index.column("crop").tolist() == [0, 1, 2, 0, 1, 2]


def test_only_the_wanted_splits(made):
    artifact, _ = made
    assert len(SampleIndex.from_artifact(artifact, split="train")) == 4
    assert len(SampleIndex.from_artifact(artifact, split=["train", "val"])) == 6
    with pytest.raises(StageError, match=r"pairs: no sample of split test; it has {'train': 4, 'val': 2}"):
        SampleIndex.from_artifact(artifact, split="test")


def test_an_index_travels_to_loader_processes(made):
    index = SampleIndex.from_artifact(made[0])
    copy = pickle.loads(pickle.dumps(index))
    assert copy.read(2, "hr") == index.read(2, "hr")


def test_a_shard_that_was_dropped_from_a_cache_is_fetched_again(made, tmp_path, monkeypatch):
    artifact, _ = made
    index = SampleIndex.from_artifact(artifact)
    before = index.read(0, "lr")
    moved = tmp_path / "elsewhere.tar"
    artifact.open("shard-00000.tar").rename(moved)
    monkeypatch.setattr(FolderArtifact, "open", lambda *_: moved)
    assert index.read(0, "lr") == before


def test_a_short_shard_is_named(made):
    artifact, _ = made
    index = SampleIndex.from_artifact(artifact)
    with artifact.open("shard-00001.tar").open("r+b") as file:
        file.truncate(700)
    with pytest.raises(StageError, match=r"shard-00001.tar ends inside 0000000000000001_0000.hr"):
        index.read(3, "hr")
