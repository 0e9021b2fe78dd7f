"""On-line pairs: in the first epoch the stored ones bit for bit, afterwards fresh ones, whoever reads them and when."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.stage import StageError
from stages.data import online
from stages.data.online import OnlinePairs
from stages.data.opening import open_pairs
from stages.data.rules import pair_digest
from stages.data.samples import SampleIndex
from tests.support.harness import FolderArtifact
from tests.support.pairs import SMALL, ingest, small_images, small_pairs, synthesise
from tests.support.photos import NAMES, bundled, copy_photos

SETTINGS = {
    "numbers": {},
    "area": {"crops": "area", "hr_size": 128, "preset": "bicubic"},
    "whole": {"hr_size": "whole", "scale": 3, "shards": 2},
    "split shards": {"crops": 3, "shards": 2, "shard_samples": 4, "preset": "bicubic"},
}


@pytest.fixture(scope="module")
def images() -> FolderArtifact:
    return small_images()


@pytest.fixture(scope="module")
def artifact() -> FolderArtifact:
    return small_pairs(online=True)


@pytest.fixture
def copied(tmp_path, artifact) -> FolderArtifact:
    """The artifact in a folder of its own, to be spoilt."""
    for entry in artifact.manifest.entries:
        (tmp_path / entry.name).write_bytes(artifact.read(entry.name))
    return replace(artifact, folder=tmp_path)


@pytest.fixture(scope="module")
def thumbnails(tmp_path_factory) -> FolderArtifact:
    """The same photographs, small enough to be pairs as a whole without much work."""
    folder = tmp_path_factory.mktemp("thumbnails")
    (folder / "photos").mkdir()
    for name in NAMES:
        photo = Image.open(bundled(name)).convert("RGB")
        photo.thumbnail((170, 170))
        photo.save(folder / "photos" / name)
    return ingest(folder / "run", folder / "photos")


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
def test_the_first_epoch_is_what_would_have_been_stored(tmp_path, images, thumbnails, config):
    images = thumbnails if config.get("hr_size") == "whole" else images
    stored = open_pairs(synthesise(tmp_path / "stored", images, **config))
    made = open_pairs(synthesise(tmp_path / "online", images, online=True, **config))
    assert isinstance(stored, SampleIndex)
    assert isinstance(made, OnlinePairs)
    for column in ("key", "split", "image", "crop"):
        assert made.column(column).tolist() == stored.column(column).tolist()
    assert np.array_equal(made.hr_sizes(), stored.hr_sizes())
    for i in range(len(stored)):
        for ours, theirs in zip(made.read_pair(i), stored.read_pair(i), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_splits_are_those_of_the_stored_pairs(artifact):
    stored = small_pairs()
    for split in ("train", "val", ["val", "test"]):
        ours, theirs = (open_pairs(a, split=split) for a in (artifact, stored))
        assert [ours.key(i) for i in range(len(ours))] == [theirs.key(i) for i in range(len(theirs))]
        assert ours.images == theirs.images


def test_later_epochs_hold_the_crops_that_more_crops_would_have_given(tmp_path, images, artifact):
    """Epoch 1 of two crops an image is crops 2 and 3: the second half of stored pairs with four crops an image."""
    pairs = open_pairs(artifact)
    four = open_pairs(synthesise(tmp_path, images, crops=4))
    place = {four.key(i): i for i in range(len(four))}
    met = set()
    for epoch in (0, 1):
        for i in range(len(pairs)):
            met.add(pairs.key(i, epoch))
            lr, hr = four.read_pair(place[pairs.key(i, epoch)])
            ours = pairs.read_pair(i, epoch)
            np.testing.assert_array_equal(ours[0], lr)
            np.testing.assert_array_equal(ours[1], hr)
    assert met == set(place)


def test_what_a_pair_looks_like_depends_on_neither_order_threads_nor_memory(artifact):
    pairs = open_pairs(artifact)
    asked = [(i, epoch) for epoch in (0, 3) for i in range(len(pairs))]
    plain = {at: pair_digest(*pairs.read_pair(*at)) for at in asked}
    assert len(set(plain.values())) == len(asked)
    shuffled = [asked[i] for i in np.random.default_rng(0).permutation(len(asked) * 3) % len(asked)]
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as the loader does
    try:
        for threads, budget in ((4, 0), (4, 1_500_000), (1, 10**9)):
            read = open_pairs(artifact).reader(budget)
            with ThreadPoolExecutor(threads) as pool:
                found = list(pool.map(lambda at, read=read: pair_digest(*read(*at)), shuffled))
            assert found == [plain[at] for at in shuffled]
    finally:
        cv2.setNumThreads(before)


def test_photographs_are_decoded_once_where_they_fit(artifact, monkeypatch):
    decoded = []
    monkeypatch.setattr(online, "decode_rgb", lambda data, real=online.decode_rgb: decoded.append(1) or real(data))
    pairs = open_pairs(artifact)
    photographs = len(pairs.images)
    for budget, most in ((10**9, photographs), (0, 3 * photographs)):
        read = pairs.reader(budget)
        decoded.clear()
        for epoch in range(3):
            for i in range(len(pairs)):  # in the index's order, so the crops of a photograph follow each other
                read(i, epoch)
        assert len(decoded) == most


def test_a_damaged_pack_is_named(copied):
    pairs = open_pairs(copied)
    pack, offset = str(pairs.table["pack"][1]), int(pairs.numbers["offset"][1])
    data = bytearray((copied.folder / pack).read_bytes())
    data[offset + 1000] ^= 1
    (copied.folder / pack).write_bytes(data)
    with pytest.raises(StageError, match=rf"of {pack} are not the photograph [0-9a-f]{{16}} that the index names"):
        open_pairs(copied).read_pair(1)


def test_a_machine_that_makes_other_pixels_is_refused(artifact, monkeypatch):
    def brighter(image, recipe, real=online.render):
        hr, lr = real(image, recipe)
        return hr, lr | 1

    monkeypatch.setattr(online, "render", brighter)
    for split in ("train", "val"):
        with pytest.raises(StageError, match=r"comes out other here .* versions of OpenCV .* online: false"):
            open_pairs(artifact, split=split)


def test_rules_of_another_version_are_refused(copied):
    rules = json.loads((copied.folder / "online.json").read_text())
    assert rules["seed"] == SMALL["seed"]
    (copied.folder / "online.json").write_text(json.dumps({**rules, "schema": 2}))
    with pytest.raises(StageError, match=r"expected online.json of schema 1, got 2"):
        open_pairs(copied)


def test_a_split_without_pairs_says_which_there_are(tmp_path):
    photos = copy_photos(tmp_path / "photos", "coffee.png", "rocket.jpg")
    images = ingest(tmp_path / "run", photos, split={"val": 0, "test": 0})
    with pytest.raises(StageError, match=r"no sample of split val; it has {'train': 4}"):
        open_pairs(synthesise(tmp_path / "pairs", images, online=True), split="val")
