"""``degrade.pairs``: the same bytes on any path, and an edit of the images touches only what it must."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.stage import Partition, StageError, digest
from stages.data.pixels import decode_rgb
from stages.data.samples import SampleIndex
from stages.synthesis.pairs import DegradePairs
from stages.synthesis.shards import Cut, shard_of
from tests.support.harness import FolderArtifact, run_stage
from tests.support.pairs import SMALL, ingest, small_images, small_pairs, synthesise
from tests.support.photos import bundled, copy_photos


@pytest.fixture(scope="module")
def images() -> FolderArtifact:
    return small_images()


@pytest.fixture(scope="module")
def pairs() -> FolderArtifact:
    return small_pairs()


def partitions(images: FolderArtifact, **config: object) -> dict[str, str]:
    """Partition id -> a digest of what its key holds of the partition."""
    found = DegradePairs.partitions(DegradePairs.Config(**{**SMALL, **config}), {"images": images}, {})
    return {part.id: identity(part) for part in found}


def identity(part: Partition) -> str:
    return digest([part.id, part.params, [[read.slot, read.name, read.sha256] for read in part.reads]])


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {part for part in before.keys() | after.keys() if before.get(part) != after.get(part)}


# ---------------------------------------------------------------- bytes


MEMORY = """
import json, sys
from pathlib import Path
from pipelines.artifact import Manifest
from tests.support.harness import FolderArtifact, run_stage
from stages.synthesis.pairs import DegradePairs
images = FolderArtifact("images", Path(sys.argv[2]), Manifest.from_json(json.loads(sys.argv[3])))
run_stage(DegradePairs, Path(sys.argv[1]), {"hr_size": 512, "crops": 1, "shards": 1}, {"images": images})
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_worker_on_photographs_of_four_megapixels_stays_small(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"):
        photo = Image.open(bundled(name)).convert("RGB").resize((2304, 1792))
        photo.save(tmp_path / "photos" / f"{name}.jpg", quality=90)
    large = ingest(tmp_path / "images", tmp_path / "photos", buckets=1)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "run"), str(large.folder)]
    command.append(json.dumps(large.manifest.to_json()))
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 300  # 224 measured; one such photograph as float32 is 50


def test_partition_order_does_not_matter(tmp_path, images, pairs):
    assert synthesise(tmp_path, images, reverse=True).manifest == pairs.manifest


def test_neither_hash_seed_nor_threads_matter(tmp_path, images, pairs):
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.support.harness import FolderArtifact, run_stage; from tests.support.pairs import *\n"
        "from pipelines.artifact import Manifest; import json\n"
        "manifest = Manifest.from_json(json.loads(sys.argv[3]))\n"
        "images = FolderArtifact('images', Path(sys.argv[2]), manifest)\n"
        "print(synthesise(Path(sys.argv[1]), images).digest)"
    )
    arguments = [str(tmp_path), str(images.folder), json.dumps(images.manifest.to_json())]
    env = {**os.environ, "PYTHONHASHSEED": "99", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == pairs.digest, done.stderr


def test_repacking_and_renaming_images_changes_nothing(tmp_path, images, pairs):
    photos = copy_photos(tmp_path / "photos")
    (photos / "coffee.png").rename(photos / "cup.png")
    other = ingest(tmp_path / "run", photos, buckets=2)
    assert other.digest != images.digest
    assert partitions(other) == partitions(images)
    assert synthesise(tmp_path / "pairs", other).digest == pairs.digest


def test_index_gives_every_range_and_digest(pairs):
    rows = pairs.table().to_pylist()
    assert [row["key"] for row in rows] == [row["key"] for row in sorted(rows, key=lambda r: (r["shard"], r["key"]))]
    for row in rows:
        shard = pairs.open(row["shard"]).read_bytes()
        body = shard[row["offset"] : row["offset"] + row["size"]]
        assert hashlib.sha256(body).hexdigest() == row["sha256"]
        with tarfile.open(fileobj=io.BytesIO(body)) as sample:
            names = [f"{row['key']}.{part}" for part in ("hr.png", "json", "lr.png")]
            assert sample.getnames() == names
            for part, name in zip(("hr", "json", "lr"), names, strict=True):
                start = row[f"{part}_offset"]
                assert shard[start : start + row[f"{part}_size"]] == sample.extractfile(name).read()


def test_samples_carry_their_source_split_and_recipe(images, pairs):
    by_image = {row["image"]: row for row in images.table().to_pylist()}
    index = SampleIndex.from_artifact(pairs)
    rows = pairs.table().to_pylist()
    assert len(rows) == 2 * len(by_image)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert any(name.startswith("r_") for name in rows[0])
    for i, row in enumerate(rows):
        about = json.loads(index.read(i, "json"))
        assert (about["image"], about["crop"], about["split"]) == (row["image"], row["crop"], row["split"])
        assert about["split"] == by_image[row["image"]]["split"]
        assert row["key"] == f"{row['image'][:16]}_{row['crop']:04d}"
        lr, hr = index.read_pair(i)
        assert (lr.shape, hr.shape) == ((16, 16, 3), (64, 64, 3))


def test_a_recorded_recipe_gives_its_pair_again(images, pairs):
    from degrade.engine import render
    from degrade.recipe import Recipe

    source = {row["image"]: row for row in images.table().to_pylist()}
    index = SampleIndex.from_artifact(pairs)
    for i, image in list(enumerate(index.column("image")))[::4]:
        row = source[image]
        recipe = Recipe.from_json(json.dumps(json.loads(index.read(i, "json"))["recipe"]))
        hr, lr = render(decode_rgb(images.read(row["entry"], row["offset"], row["size"])), recipe)
        stored_lr, stored_hr = index.read_pair(i)
        np.testing.assert_array_equal(hr, stored_hr)
        np.testing.assert_array_equal(lr, stored_lr)


def test_plain_webdataset_opens_the_shards(pairs):
    import webdataset

    shards = sorted(str(pairs.open(e.name)) for e in pairs.manifest.entries if e.name.endswith(".tar"))
    index = SampleIndex.from_artifact(pairs)
    data = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
    count = 0
    for i, sample in enumerate(data):
        lr, hr = index.read_pair(i)
        assert sample["__key__"] == index.key(i)
        np.testing.assert_array_equal(sample["hr.png"], hr)
        np.testing.assert_array_equal(sample["lr.png"], lr)
        assert sample["json"]["image"] == index.column("image")[i]
        count += 1
    assert count == len(index) == 12


# ---------------------------------------------------------------- what an edit rebuilds


def test_one_photograph_more_or_less_changes_one_shard(tmp_path, images, pairs):
    photos = copy_photos(tmp_path / "photos")
    copy_photos(photos, "gravel.png")
    more = ingest(tmp_path / "run", photos)
    assert len(changed(partitions(images), partitions(more))) == 1
    grown = synthesise(tmp_path / "pairs", more)
    before, after = ({(e.name, e.sha256) for e in p.manifest.entries if not e.derived} for p in (pairs, grown))
    assert len({name for name, _ in after ^ before}) == 1


def test_a_moved_split_changes_the_shards_of_the_moved_images(tmp_path, images):
    photos = copy_photos(tmp_path / "photos")
    other = ingest(tmp_path / "run", photos, split={"val": 0, "test": 0.1})
    moved = {row["image"] for row in images.table().to_pylist() if row["split"] == "val"}
    assert changed(partitions(images), partitions(other)) == {str(shard_of(image, SMALL["shards"])) for image in moved}


def test_shards_without_an_image_are_not_written(tmp_path, images):
    sparse = synthesise(tmp_path, images, shards=1000)
    names = [entry.name for entry in sparse.manifest.entries if not entry.derived]
    assert names == sorted(f"shard-{shard_of(image, 1000):05d}.tar" for image in images.table()["image"].to_pylist())


def test_images_too_small_for_a_crop(tmp_path, images):
    run = run_stage(DegradePairs, tmp_path / "skip", {**SMALL, "hr_size": 304, "crops": 1}, {"images": images})
    assert run.context.recorded[-1][1] == {"pairs": 4, "shards": 2, "images_too_small": 2}
    with pytest.raises(StageError, match=r"2 images have a side under hr_size 304: chelsea.png, coins.png; lower"):
        partitions(images, hr_size=304, on_small="fail")
    with pytest.raises(StageError, match="6 images have a side under hr_size 1024"):
        partitions(images, hr_size=1024)


def test_a_too_small_photograph_more_changes_nothing(tmp_path, images):
    photos = copy_photos(tmp_path / "photos")
    Image.effect_noise((70, 70), 50).save(photos / "tiny.png")
    more = ingest(tmp_path / "run", photos)
    assert partitions(more, hr_size=128) == partitions(images, hr_size=128)


# ---------------------------------------------------------------- config


def test_crops_by_area():
    by_area = Cut(64, 4, "area")
    assert [by_area.pairs(w, h) for w, h in ((64, 64), (128, 128), (640, 480), (65, 64))] == [1, 4, 75, 1]
    assert Cut(64, 4, 3).pairs(640, 480) == 3
    assert Cut(None, 4, "area").pairs(640, 480) == 1


def test_the_values_of_a_preset_are_identity_and_its_name_is_not(tmp_path):
    from degrade.presets import load_preset

    own = tmp_path / "own.yaml"
    own.write_text(json.dumps(load_preset("real-esrgan").model_dump(mode="json")))
    named = DegradePairs.identity(DegradePairs.Config(preset="real-esrgan"))
    assert named == DegradePairs.identity(DegradePairs.Config(preset=str(own)))
    assert named["preset"] == load_preset("real-esrgan").model_dump(mode="json")


def test_a_presets_file_is_not_needed_where_the_pairs_are_made(tmp_path, images, pairs):
    from degrade.presets import load_preset

    own = tmp_path / "own.yaml"
    own.write_text(json.dumps(load_preset("real-esrgan").model_dump(mode="json")))
    config = DegradePairs.Config(**{**SMALL, "preset": str(own)})
    parts = DegradePairs.partitions(config, {"images": images}, {})
    assert all(part.params["preset"] for part in parts)
    assert synthesise(tmp_path / "pairs", images, preset=str(own)).digest == pairs.digest


def test_hr_size_is_a_multiple_of_scale():
    with pytest.raises(ValueError, match="hr_size 250 is not a multiple of scale 4; the nearest is 248"):
        DegradePairs.Config(hr_size=250)


def test_unknown_presets_are_refused_with_the_config():
    with pytest.raises(ValueError, match="real-esrgan"):
        DegradePairs.Config(preset="real-esrgam")


def test_a_preset_file_that_is_not_there_is_named(tmp_path):
    config = DegradePairs.Config(preset=str(tmp_path / "mine.yaml"))
    with pytest.raises(StageError, match=r"mine.yaml: cannot be read"):
        DegradePairs.identity(config)


def test_declaring_the_stage_imports_nothing_heavy():
    heavy = {"cv2", "torch", "pyarrow", "ray", "scipy", "basicsr", "albumentations"}
    program = (
        "import sys; from stages.synthesis.pairs import DegradePairs; DegradePairs.identity(DegradePairs.Config())\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
