"""On-line pairs through the store: nothing is copied, and what training sees decides what is trained again."""

from __future__ import annotations

from pathlib import Path

from pipelines.store.store import open_store
from tests.support.cli import Sharpline
from tests.support.photos import copy_photos

SPEC = """
sharpline: 1
name: online
stages:
  photos:
    uses: ingest.images
    with: {source: ./photos, split: {val: 0.1, test: 0}}
  pairs:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: bicubic, hr_size: 64, crops: 2, shards: 3, online: true}
  teacher:
    uses: train.resshift
    inputs: {pairs: pairs}
    with: {steps: 6, training: {batch_size: 2, learning_rate: 1.0e-4}, network: {widths: [8], blocks: 1, groups: 4}}
  scores:
    uses: evaluate
    inputs: {pairs: pairs, models: [teacher]}
    with: {max_images: 2}
"""


def test_online_pairs_are_planned_trained_on_measured_and_reported(tmp_path: Path) -> None:
    copy_photos(tmp_path / "photos")
    (tmp_path / "spec.yaml").write_text(SPEC)
    sharpline = Sharpline(cwd=tmp_path)
    done = sharpline("run", "spec.yaml", "--executor", "local")
    assert done.code == 0, done.out + done.err
    first = sharpline.plan("spec.yaml")
    assert {stage["state"] for stage in first.values()} == {"cached"}
    trees = open_store(tmp_path / ".sharpline").trees
    photos, pairs = (trees.get(first[stage]["outputs"][slot]) for stage, slot in (("photos", "images"), ("pairs",) * 2))
    own = {entry.name: entry.size for entry in pairs.entries if entry.sha256 not in {e.sha256 for e in photos.entries}}
    assert set(own) == {"index.parquet", "online.json", "probe.json"}
    assert sum(own.values()) < 20_000

    # The same photograph under another name: its pack and the index are others, and nothing after the pairs is.
    (tmp_path / "photos" / "coffee.png").rename(tmp_path / "photos" / "cup.png")
    done = sharpline("run", "spec.yaml", "--executor", "local")
    assert done.code == 0, done.out + done.err
    after = sharpline.plan("spec.yaml")
    assert after["photos"]["outputs"]["images"] != first["photos"]["outputs"]["images"]
    assert [after[stage]["outputs"] for stage in ("pairs", "teacher", "scores")] == [
        first[stage]["outputs"] for stage in ("pairs", "teacher", "scores")
    ]
    assert after["teacher"]["key"] == first["teacher"]["key"]
