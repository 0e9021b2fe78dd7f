"""``ingest.images``: what it takes in, what it leaves out and says so, and what an edit of the source rebuilds."""

import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from pipelines.stage import Listing, Partition, StageError, digest
from stages.data.tar import TarWriter
from stages.ingest import listing, pack
from stages.ingest.images import IngestImages
from tests.support.harness import FolderArtifact, run_stage
from tests.support.photos import bundled, copy_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return copy_photos(tmp_path / "photos")


def ingest(folder: Path, source: Path | str, **config: object) -> tuple[FolderArtifact, list[dict[str, str]]]:
    run = run_stage(IngestImages, folder, {"source": str(source), **config})
    return run.artifacts["images"], json.loads(run.artifacts["rejected"].open("rejected.json").read_bytes())


def partitions(source: Path | str, **config: object) -> dict[str, str]:
    """Partition id -> a digest of all that its key depends on."""
    typed = IngestImages.Config(source=str(source), **config)
    hashed = IngestImages.hash_sources(typed, IngestImages.list_sources(typed))
    return {part.id: identity(part) for part in IngestImages.partitions(typed, {}, hashed)}


def identity(part: Partition) -> str:
    return digest([part.id, part.params, [[read.slot, read.name, read.sha256] for read in part.reads]])


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {part for part in before.keys() | after.keys() if before.get(part) != after.get(part)}


# ---------------------------------------------------------------- the artifact


def test_index_points_at_the_original_bytes(tmp_path, photos):
    images, rejected = ingest(tmp_path / "run", photos)
    rows = images.table().to_pylist()
    assert not rejected
    assert sorted(row["name"] for row in rows) == sorted(path.name for path in photos.iterdir())
    assert [row["image"] for row in rows] == sorted(row["image"] for row in rows)
    for row in rows:
        with images.open(row["entry"]).open("rb") as file:
            assert os.pread(file.fileno(), row["size"], row["offset"]) == (photos / row["name"]).read_bytes()
        with tarfile.open(images.open(row["entry"])) as tar:
            about = json.load(tar.extractfile(f"{row['image']}.json"))
        assert about == {name: row[name] for name in ("name", "width", "height")}
    assert images.table().column_names == [
        "image", "name", "entry", "offset", "size", "width", "height", "split", "ext"
    ]  # fmt: skip


def test_bytes_do_not_depend_on_order_place_or_time(tmp_path, photos, monkeypatch):
    first, _ = ingest(tmp_path / "a", photos)
    moved = photos.rename(tmp_path / "moved")
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    walk = listing._walk
    monkeypatch.setattr(listing, "_walk", lambda *args: reversed(list(walk(*args))))
    run = run_stage(IngestImages, tmp_path / "b", {"source": str(moved)}, reverse=True)
    second = run.artifacts["images"]
    assert second.manifest == first.manifest


def test_hash_seed_does_not_matter(tmp_path, photos):
    program = (
        "import sys; from pathlib import Path; from tests.support.harness import run_stage\n"
        "from stages.ingest.images import IngestImages\n"
        "run = run_stage(IngestImages, Path(sys.argv[1]), {'source': sys.argv[2]})\n"
        "print(run.artifacts['images'].digest)"
    )
    here, _ = ingest(tmp_path / "here", photos)
    command = [sys.executable, "-c", program, str(tmp_path / "there"), str(photos)]
    env = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip() == here.digest


def test_bundled_photographs_split_for_a_first_run(tmp_path):
    images, rejected = ingest(tmp_path / "run", "skimage:photos")
    splits = Counter(row["split"] for row in images.table().to_pylist())
    assert splits == {"train": 4, "val": 2, "test": 1}
    assert not rejected


def test_split_is_content_and_fractions_move_only_what_they_must(tmp_path, photos):
    def splits(name: str, **split: object) -> tuple[str, dict[str, str]]:
        images, _ = ingest(tmp_path / name, photos, split=split)
        return images.digest, {row["name"]: row["split"] for row in images.table().to_pylist()}

    none, one = splits("none", val=0, test=0), splits("half", val=0.5, test=0)
    more = splits("more", val=0.5, test=0.3)
    assert set(none[1].values()) == {"train"}
    assert none[0] != one[0] != more[0]
    assert {n for n, s in one[1].items() if s == "val"} == {n for n, s in more[1].items() if s == "val"}


def test_packs_are_bounded(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", 600_000)
    images, _ = ingest(tmp_path / "run", photos, buckets=1)
    names = [entry.name for entry in images.manifest.entries if entry.name.startswith("pack")]
    assert names == ["pack-00-1.tar", "pack-00-2.tar", "pack-00-3.tar", "pack-00.tar"]
    for row in images.table().to_pylist():
        assert images.read(row["entry"], row["offset"], row["size"]) == (photos / row["name"]).read_bytes()


# ---------------------------------------------------------------- what is left out


def test_unusable_files_are_quarantined_with_reasons(tmp_path, photos):
    (photos / "cut.png").write_bytes(bundled("coffee.png").read_bytes()[:-5000])
    (photos / "empty.jpg").touch()
    (photos / "empty2.jpg").touch()
    (photos / "notes.png").write_text("buy milk")
    copy_photos(photos, "page.png")
    (photos / "a copy.png").write_bytes((photos / "coffee.png").read_bytes())
    images, rejected = ingest(tmp_path / "run", photos, min_size=200)
    reasons = {item["name"]: item["reason"] for item in rejected}
    assert reasons == {
        "coffee.png": "same bytes as a copy.png",
        "cut.png": "cannot be decoded: damaged, cut short, or of an unknown pixel format",
        "empty.jpg": "empty file",
        "empty2.jpg": "empty file",
        "notes.png": "not an image in a known format",
        "page.png": "384 x 191 pixels: the shorter side is under 200",
    }
    assert images.table().num_rows == 6


@pytest.mark.parametrize(
    ("policy", "bad", "message"),
    [("on_broken", "notes.png", "notes.png: not an image"), ("on_small", "page.png", "shorter side is under 200")],
)
def test_policy_fail_names_the_file(tmp_path, photos, policy, bad, message):
    copy_photos(photos, "page.png")
    (photos / "notes.png").write_text("buy milk")
    with pytest.raises(StageError, match=message):
        ingest(tmp_path / "run", photos, min_size=200, **{policy: "fail"})


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x.png").write_text("no")
    with pytest.raises(StageError, match=r"all 1 were left out\n  x.png: not an image"):
        ingest(tmp_path / "run", tmp_path / "photos")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent", "nothing at .*absent .only .* exists.; expected a folder"),
        ("empty", "no image under .*empty: looked at 1 files for the extensions"),
        ("empty/*.png", "no file matches .*empty/.*png; expected a folder"),
        ("empty/*", "no image under .*empty: looked at 1 files"),
        ("empty/a.txt", "looked at 1 files"),
        ("s3://bucket/photos", "not understood; expected a folder"),
        ("skimage:fotos", "not understood; expected a folder"),
        ("none.tar", "holds no file with one of the extensions"),
        ("packed.tar", "cannot be read as a plain tar"),
    ],
)
def test_sources_without_images_say_what_was_looked_for(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/a.txt").touch()
    with TarWriter(tmp_path / "none.tar") as tar:
        tar.add([("a.txt", b"")])
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as packed:
        packed.add(tmp_path / "empty/a.txt", "a.png")
    with pytest.raises(StageError, match=message):
        partitions(source)


# ---------------------------------------------------------------- sources


def test_folder_glob_and_tar_are_the_same_images(tmp_path, photos):
    (photos / "deep").mkdir()
    (photos / "coffee.png").rename(photos / "deep/COFFEE.PNG")
    (photos / ".hidden.png").write_bytes(b"x")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos, ".")
    folder, _ = ingest(tmp_path / "folder", photos)
    globbed, _ = ingest(tmp_path / "glob", photos / "**" / "*.*")
    packed, _ = ingest(tmp_path / "tar", tmp_path / "photos.tar")
    assert "deep/COFFEE.PNG" in folder.table()["name"].to_pylist()
    assert folder.digest == globbed.digest == packed.digest
    (photos / "deep/loop").symlink_to(photos)
    looped, _ = ingest(tmp_path / "looped", photos)
    assert looped.digest == folder.digest
    flat, _ = ingest(tmp_path / "flat", photos, recursive=False)
    assert flat.table().num_rows == folder.table().num_rows - 1


def test_listing_reads_no_content_and_sees_touches(photos):
    def signature() -> str:
        found: Listing = IngestImages.list_sources(IngestImages.Config(source=str(photos)))["source"]
        return found.signature

    before = signature()
    (photos / "coffee.png").chmod(0)
    assert signature() == before
    os.utime(photos / "coffee.png", (1, 1))
    assert signature() != before


# ---------------------------------------------------------------- what an edit rebuilds


def test_an_edit_of_the_source_changes_only_the_buckets_it_touches(photos):
    before = partitions(photos)
    for path in photos.iterdir():
        os.utime(path, (1, 1))
    assert changed(before, partitions(photos)) == set()
    copy_photos(photos, "gravel.png")
    added = partitions(photos)
    assert len(changed(before, added)) == 1
    (photos / "gravel.png").rename(photos / "stones.png")
    renamed = partitions(photos)
    assert changed(added, renamed) == changed(before, added)
    (photos / "stones.png").unlink()
    assert changed(before, partitions(photos)) == set()


def test_one_more_photograph_rewrites_one_pack(tmp_path, photos):
    before, _ = ingest(tmp_path / "before", photos)
    copy_photos(photos, "gravel.png")
    after, _ = ingest(tmp_path / "after", photos)

    def packs(artifact: FolderArtifact) -> set[tuple[str, str]]:
        return {(entry.name, entry.sha256) for entry in artifact.manifest.entries if not entry.derived}

    assert len({name for name, _ in packs(after) - packs(before)}) == 1


def test_which_files_count_is_no_identity():
    a = IngestImages.identity(IngestImages.Config(source="a", extensions=("JPG", ".png")))
    assert a == IngestImages.identity(IngestImages.Config(source="b", recursive=False))
    assert a != IngestImages.identity(IngestImages.Config(source="a", min_size=65))


def test_declaring_the_stage_imports_nothing_heavy():
    heavy = {"cv2", "torch", "skimage", "pyarrow", "ray", "numpy", "PIL"}
    program = f"import sys, stages.ingest.images; print(sorted({heavy} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
