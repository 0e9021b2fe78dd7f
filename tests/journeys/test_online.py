"""On-line pairs through the store: nothing is copied, and what training sees decides what is trained again."""

from __future__ import annotations

from pathlib import Path

from tests.support.photos import copy_photos
from tests.support.workspace import Workspace

SPEC = """
sharpline: 1
name: online
stages:
  photos:
    uses: ingest.images
    with: {source: ./photos, split: {val: 0, test: 0}, buckets: 2}
    resources: {workers: 1}
  pairs:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: bicubic, hr_size: 64, crops: 2, shards: 3, online: true}
  teacher:
    uses: train.resshift
    inputs: {pairs: pairs}
    with: {steps: 4, training: {batch_size: 2, learning_rate: 1.0e-4}, network: {widths: [8], blocks: 1, groups: 4}}
"""


def test_nothing_is_copied_and_a_new_name_trains_nothing_anew(tmp_path: Path) -> None:
    copy_photos(tmp_path / "photos", "coffee.png", "rocket.jpg")
    work = Workspace(tmp_path)
    work.file.write_text(SPEC)
    assert work.run().built == ["pairs", "photos", "teacher"]
    first = {name: stage.outputs or {} for name, stage in work.plan().stages.items()}
    photos, pairs = (work.store.trees.get(first[name][slot]) for name, slot in (("photos", "images"), ("pairs",) * 2))
    own = {entry.name: entry.size for entry in pairs.entries if entry.sha256 not in {e.sha256 for e in photos.entries}}
    assert set(own) == {"index.parquet", "online.json", "probe.json"}
    assert sum(own.values()) < 20_000

    # The same photograph under another name: its pack and the index are others, what they mean is not.
    (tmp_path / "photos" / "coffee.png").rename(tmp_path / "photos" / "cup.png")
    again = work.run()
    assert (again.built, again.reused) == (["pairs", "photos"], ["teacher"])
    after = {name: stage.outputs or {} for name, stage in work.plan().stages.items()}
    assert after["photos"]["images"] != first["photos"]["images"]
    assert after["pairs"] == first["pairs"]
