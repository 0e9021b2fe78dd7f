"""A dataset of real photographs: the same bytes whatever runs it, and no more rebuilt than has changed."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.store import open_store
from stages.synthesis.shards import shard_name, shard_of
from tests.support.cli import ROOT, Sharpline, events
from tests.support.photos import copy_photos

SPEC = """
sharpline: 1
name: dataset
stages:
  photos:
    uses: ingest.images
    with: {source: ./photos}
  pairs:
    uses: degrade.pairs
    inputs: {images: photos}
    with: {preset: real-esrgan, scale: 4, hr_size: 96, crops: 2, shards: 6}
  teacher:
    uses: train.resshift
    inputs: {pairs: pairs}
    with: {steps: 2, training: {batch_size: 2, learning_rate: 1.0e-4}, network: {widths: [8], blocks: 1, groups: 4}}
  scores:
    uses: evaluate
    inputs: {pairs: pairs, models: [teacher]}
    with: {split: train, allow_overlap: true, max_images: 2}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with photographs and a spec, run once."""
    folder = tmp_path_factory.mktemp("project")
    copy_photos(folder / "photos")
    (folder / "spec.yaml").write_text(SPEC)
    done = Sharpline(cwd=folder)("run", "spec.yaml", "--executor", "local")
    assert done.code == 0, done.out + done.err
    return folder


def outputs(plan: dict[str, dict[str, Any]]) -> dict[str, Any]:
    assert {stage["state"] for stage in plan.values()} == {"cached"}, plan
    return {name: stage["outputs"] for name, stage in plan.items()}


def test_shards_have_the_same_bytes_for_any_workers_order_hash_seed_and_folder(project: Path, tmp_path: Path) -> None:
    for name in sorted((p.name for p in (project / "photos").iterdir()), reverse=True):  # another order of creation
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy2(project / "photos" / name, tmp_path / "photos" / name)
    (tmp_path / "spec.yaml").write_text(SPEC)
    sharpline = Sharpline(cwd=tmp_path, env={"PYTHONHASHSEED": "4711"})
    one = ("--set", "stages.pairs.resources.workers=1", "--set", "stages.photos.resources.workers=1")
    done = sharpline("run", "spec.yaml", "--executor", "local", "-s", "+pairs", *one)
    assert done.code == 0, done.out + done.err
    here, there = Sharpline(cwd=project).plan("spec.yaml"), sharpline.plan("spec.yaml")
    assert here["pairs"]["outputs"] == there["pairs"]["outputs"]
    assert here["pairs"]["key"] == there["pairs"]["key"]


def test_plain_webdataset_reads_the_shards(project: Path) -> None:
    import webdataset

    store = open_store(project / ".sharpline")
    manifest = store.trees.get(Sharpline(cwd=project).plan("spec.yaml")["pairs"]["outputs"]["pairs"])
    shards = [str(store.blobs.open(entry.sha256)) for entry in manifest.entries if entry.name.endswith(".tar")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert len(samples) == 2 * len(list((project / "photos").iterdir()))
    assert {s["hr.png"].shape for s in samples} == {(96, 96, 3)}
    assert {s["lr.png"].shape for s in samples} == {(24, 24, 3)}
    assert all(s["json"]["recipe"] for s in samples)


def test_a_changed_learning_rate_rebuilds_the_teacher_and_what_follows_it(project: Path) -> None:
    plan = Sharpline(cwd=project).plan("spec.yaml", "--set", "stages.teacher.with.training.learning_rate=3e-4")
    assert {name: stage["state"] for name, stage in plan.items()} == {
        "photos": "cached",
        "pairs": "cached",
        "teacher": "run",
        "scores": "pending",
    }
    (reason,) = plan["teacher"]["reasons"]
    assert (reason["path"], reason["before"], reason["after"]) == ("with.training.learning_rate", 1e-4, 3e-4)


def test_a_preset_of_ones_own_lies_beside_the_spec_and_enters_the_key_by_value(project: Path, tmp_path: Path) -> None:
    store = ("--store", project / ".sharpline")
    keys = []
    for name in ("here", "there"):
        folder = tmp_path / name
        shutil.copytree(project / "photos", folder / "photos")
        shutil.copy(ROOT / "degrade" / "presets" / "bicubic.yaml", folder / "mine.yaml")
        (folder / "spec.yaml").write_text(SPEC.replace("preset: real-esrgan", "preset: ./mine.yaml"))
        plan = Sharpline(cwd=tmp_path).plan(folder / "spec.yaml", *store)
        assert (plan["photos"]["state"], plan["pairs"]["state"]) == ("cached", "run")
        keys.append(plan["pairs"]["key"])
    assert keys[0] == keys[1]
    by_name = Sharpline(cwd=project).plan("spec.yaml", "--set", "stages.pairs.with.preset=bicubic")
    assert by_name["pairs"]["key"] == keys[0]


def test_a_changed_value_of_a_preset_replans_every_shard_and_is_named(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(project, folder)
    preset = (ROOT / "degrade" / "presets" / "real-esrgan.yaml").read_text()
    (folder / "mine.yaml").write_text(preset.replace("id: jpeg1, quality: [30, 95]", "id: jpeg1, quality: [30, 90]"))
    (folder / "spec.yaml").write_text(SPEC.replace("preset: real-esrgan", "preset: ./mine.yaml"))
    plan = Sharpline(cwd=folder).plan("spec.yaml")["pairs"]
    shards = Sharpline(cwd=project).plan("spec.yaml")["pairs"]
    assert (plan["state"], plan["done"]) == ("run", 0)
    assert plan["total"] == len(shard_digests(project, shards["outputs"]["pairs"]))
    (reason,) = plan["reasons"]
    assert re.fullmatch(r"with\.preset\.steps\[\d+\]\.quality\[1\]", reason["path"])
    assert (reason["before"], reason["after"]) == (95, 90)


def test_what_is_wrong_in_a_presets_file_is_said_when_the_spec_is_read(project: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("preset: real-esrgan", "preset: ./mine.yaml"))
    sharpline = Sharpline(cwd=tmp_path)
    missing = sharpline("validate", "spec.yaml")
    assert missing.code == 2
    assert "mine.yaml: cannot be read" in missing.err
    preset = (ROOT / "degrade" / "presets" / "real-esrgan.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(preset.replace("id: jpeg1, quality: [30, 95]", "id: jpeg1, quality: [30, 195]"))
    wrong = sharpline("validate", "spec.yaml")
    assert wrong.code == 2
    assert re.search(r"spec.yaml:\d+:\d+: stages.pairs.with.preset: preset .*mine.yaml:\n  steps.*jpeg", wrong.err)
    assert "quality is [lowest, highest] between 1 and 100, got [30, 195]" in wrong.err
    assert "preset: ./mine.yaml" in wrong.err


def test_a_photograph_that_comes_changes_or_goes_rewrites_only_its_pack_and_its_shard(
    project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "copy")
    sharpline = Sharpline(cwd=tmp_path / "copy")
    first, *_ = sorted((tmp_path / "copy" / "photos").iterdir())
    another = first.with_name(f"another{first.suffix}")

    def built() -> tuple[list[str], dict[str, str]]:
        """The partitions that a run builds, and the digest of every shard after it."""
        done = sharpline("run", "spec.yaml", "--executor", "local", "-s", "+pairs", "--json")
        assert done.code == 0, done.out + done.err
        stages = [e["stage"] for e in events(done.out) if e["type"] == "partition.done"]
        digest = sharpline.plan("spec.yaml")["pairs"]["outputs"]["pairs"]
        return sorted(stages), shard_digests(tmp_path / "copy", digest)

    before = shard_digests(project, Sharpline(cwd=project).plan("spec.yaml")["pairs"]["outputs"]["pairs"])
    another.write_bytes(first.read_bytes() + b"\0")
    stages, more = built()
    assert stages == ["pairs", "photos"]
    assert {name for name, _ in before.items() ^ more.items()} == {shard_with(another)}
    old = shard_with(another)
    another.write_bytes(first.read_bytes() + b"\0\0")  # its old bytes leave one shard, its new ones enter one
    stages, edited = built()
    assert set(stages) == {"pairs", "photos"}
    assert {name for name, _ in more.items() ^ edited.items()} == {old, shard_with(another)}
    another.unlink()
    stages, after = built()
    assert stages == []  # every partition was made once before
    assert after == before


def shard_with(photo: Path) -> str:
    """The shard that holds the pairs of `photo` as it is now."""
    return shard_name(str(shard_of(hashlib.sha256(photo.read_bytes()).hexdigest(), shards=6)))


def shard_digests(project: Path, digest: str) -> dict[str, str]:
    """sha256 of every shard of a pairs artifact, by name."""
    manifest = open_store(project / ".sharpline").trees.get(digest)
    return {entry.name: entry.sha256 for entry in manifest.entries if entry.name.endswith(".tar")}


def test_a_comment_changes_nothing_and_an_operator_rebuilds_the_pairs_and_is_named(
    project: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "ours"
    for package in ("pipelines", "degrade", "stages"):
        shutil.copytree(ROOT / package, ours / package, ignore=shutil.ignore_patterns("__pycache__"))
    sharpline = Sharpline(cwd=project, env={"PYTHONPATH": str(ours)})
    operator = ours / "degrade" / "operators" / "jpeg.py"
    operator.write_text("# a comment\n" + operator.read_text())
    assert outputs(sharpline.plan("spec.yaml"))
    operator.write_text(operator.read_text() + "\nEXTRA = 1\n")
    plan = sharpline.plan("spec.yaml")
    assert plan["photos"]["state"] == "cached"
    assert plan["pairs"]["state"] == "run"
    assert [reason["text"] for reason in plan["pairs"]["reasons"]] == ["code: degrade/operators/jpeg.py"]
