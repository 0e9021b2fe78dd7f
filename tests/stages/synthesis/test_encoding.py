"""How pairs are stored: formats of HR and LR, photographs kept as they are, and whole photographs as pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.data.pixels import decode_rgb
from stages.data.samples import SampleIndex
from stages.synthesis.pairs import DegradePairs
from tests.support.harness import FolderArtifact
from tests.support.pairs import ingest, small_images, small_pairs, synthesise
from tests.support.photos import bundled, copy_photos

WHOLE: dict[str, Any] = {"preset": "bicubic", "hr_size": "whole", "crops": None}


@pytest.fixture(scope="module")
def images() -> FolderArtifact:
    return small_images()


@pytest.fixture(scope="module")
def lossless() -> FolderArtifact:
    return small_pairs()


def webdataset_samples(pairs: FolderArtifact) -> list[dict[str, Any]]:
    import webdataset

    shards = sorted(str(pairs.open(e.name)) for e in pairs.manifest.entries if e.name.endswith(".tar"))
    return list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))


@pytest.mark.parametrize(
    ("encoding", "extensions", "error"),
    [
        ({"hr": "webp", "lr": "webp"}, ("webp", "webp"), (0, 0)),
        ({"hr": "jpeg", "lr": "png"}, ("jpg", "png"), (3, 0)),
        ({"hr": "webp", "hr_quality": 80, "lr": "jpeg", "lr_quality": 100}, ("webp", "jpg"), (7, 3)),
    ],
)
def test_any_reader_opens_any_format(tmp_path, images, lossless, encoding, extensions, error):
    pairs = synthesise(tmp_path, images, encoding=encoding)
    index, before = SampleIndex.from_artifact(pairs), SampleIndex.from_artifact(lossless)
    assert {(row["hr_ext"], row["lr_ext"]) for row in pairs.table().to_pylist()} == {extensions}
    hr_name, lr_name = (f"{part}.{ext}" for part, ext in zip(("hr", "lr"), extensions, strict=True))
    samples = webdataset_samples(pairs)
    assert len(samples) == len(index) == len(before)
    for i, sample in enumerate(samples):
        assert (sample["__key__"], sample["json"]["crop"]) == (index.key(i), index.column("crop")[i])
        assert before.read(i, "json") == index.read(i, "json")
        stored = index.read_pair(i)
        for got, plain, name, most in zip(stored, before.read_pair(i), (lr_name, hr_name), error[::-1], strict=True):
            assert np.abs(got.astype(int) - plain).mean() <= most
            assert np.abs(got.astype(int) - sample[name]).max() <= (3 if name.endswith("jpg") else 0)


def test_whole_photographs_are_pairs_of_their_own_sizes(tmp_path, images):
    pairs = synthesise(tmp_path, images, **WHOLE)
    assert pairs.facets == {"role": "pairs", "scale": 4, "hr_size": "whole"}
    sizes = {row["image"]: (row["height"] // 4 * 4, row["width"] // 4 * 4) for row in images.table().to_pylist()}
    rows = pairs.table().to_pylist()
    index = SampleIndex.from_artifact(pairs)
    assert len(rows) == len(sizes)
    for i, row in enumerate(rows):
        height, width = sizes[row["image"]]
        lr, hr = index.read_pair(i)
        assert (hr.shape, lr.shape) == ((height, width, 3), (height // 4, width // 4, 3))
        assert (row["r_hr_height"], row["r_hr_width"]) == (height, width)


def test_a_photograph_that_is_the_hr_image_is_kept_as_it_is(tmp_path):
    photos = copy_photos(tmp_path / "photos", "astronaut.png", "camera.png", "coffee.png")
    photo = Image.open(bundled("coffee.png")).convert("RGB")
    photo.resize((320, 200)).save(photos / "fits.jpg", quality=85)
    photo.resize((322, 200)).save(photos / "over.jpg", quality=85)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.resize((320, 240)).save(photos / "turned.jpg", exif=exif)
    photo.resize((320, 160)).convert("CMYK").save(photos / "cmyk.jpg")
    images = ingest(tmp_path / "images", photos)
    pairs = synthesise(tmp_path / "pairs", images, **WHOLE, encoding={"hr": "original"})
    plain = synthesise(tmp_path / "plain", images, **WHOLE)
    index, reference = SampleIndex.from_artifact(pairs), SampleIndex.from_artifact(plain)
    names = {row["image"]: row["name"] for row in images.table().to_pylist()}
    kept = {"astronaut.png": "png", "camera.png": "png", "coffee.png": "png", "fits.jpg": "jpg"}
    ours = {"over.jpg": "png", "turned.jpg": "png", "cmyk.jpg": "png"}
    for i, row in enumerate(pairs.table().to_pylist()):
        name = names[row["image"]]
        assert row["hr_ext"] == (kept | ours)[name]
        assert (index.read(i, "hr") == (photos / name).read_bytes()) == (name in kept), name
        for got, wanted in zip(index.read_pair(i), reference.read_pair(i), strict=True):
            np.testing.assert_array_equal(got, wanted)
    for sample in webdataset_samples(pairs):
        hr = sample.get("hr.jpg", sample.get("hr.png"))
        assert (hr.shape[0], hr.shape[1]) == tuple(4 * side for side in sample["lr.png"].shape[:2])


def test_a_cut_mirrored_or_sharpened_photograph_is_not_its_original(tmp_path):
    photo = Image.open(bundled("coffee.png")).convert("RGB")
    (tmp_path / "photos").mkdir()
    photo.resize((64, 64)).save(tmp_path / "photos" / "exact.png")
    photo.resize((68, 64)).save(tmp_path / "photos" / "wider.png")
    images = ingest(tmp_path / "images", tmp_path / "photos")
    names = {row["image"]: row["name"] for row in images.table().to_pylist()}

    def kept(preset: str | Path, name: str) -> set[str]:
        pairs = synthesise(tmp_path / name, images, preset=str(preset), crops=4, encoding={"hr": "original"})
        index = SampleIndex.from_artifact(pairs)
        found = set()
        for i, row in enumerate(pairs.table().to_pylist()):
            source = (tmp_path / "photos" / names[row["image"]]).read_bytes()
            if index.read(i, "hr") == source:
                found.add(f"{names[row['image']]} {row['r_symmetry']}")
            elif names[row["image"]] == "exact.png" and row["r_symmetry"] == "h" and preset != "real-esrgan":
                np.testing.assert_array_equal(index.read_pair(i)[1], decode_rgb(source)[:, ::-1])
        return found

    mirroring = tmp_path / "mirroring.yaml"
    mirroring.write_text("name: mirroring\naugment: {hflip: 0.5}\nsteps: [{op: imresize, id: down}]\n")
    assert kept("bicubic", "plain") == {"exact.png e"}
    assert kept(mirroring, "mirrored") == {"exact.png e"}
    assert kept("real-esrgan", "sharpened") == set()


def test_a_preset_that_fits_no_size_is_refused_with_the_spec(tmp_path):
    """Not by the first pair, an hour later."""
    own = tmp_path / "own.yaml"
    own.write_text("name: own\naugment: {zoom: [0.5, 1.5]}\nsteps: [{op: imresize, id: down}]\n")
    assert DegradePairs.Config(preset=str(own), hr_size=64)
    with pytest.raises(ValueError, match=r"'own' zooms .*hr_size: whole has no meaning; give a number, or leave aug"):
        DegradePairs.Config(preset=str(own), hr_size="whole")
    own.write_text("name: own\nsteps: [{op: jpeg, id: j, quality: [40, 60]}]\n")
    assert DegradePairs.Config(preset=str(own), scale=1)
    with pytest.raises(ValueError, match="end at the HR size, and at scale 4 the LR image is smaller"):
        DegradePairs.Config(preset=str(own))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoding": {"hr": "png", "hr_quality": 9}}, "hr_quality 9 has no meaning for hr: png; choose jpeg or webp"),
        ({"encoding": {"lr": "original"}}, "Input should be 'png', 'webp' or 'jpeg'"),
        ({"hr_size": "whole", "preset": "resshift"}, "hr_size: whole has no meaning; give a number, or choose"),
        ({"hr_size": "all"}, "whole"),
        ({"preset": "real-esrgan-x2"}, "preset 'real-esrgan-x2' is made for scale 2 and got 4; say scale: 2"),
    ],
)
def test_what_makes_no_sense_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        DegradePairs.Config(**config)


def test_whole_photographs_give_one_pair_unless_more_are_asked_for():
    assert DegradePairs.Config().cut.crops == 4
    assert DegradePairs.Config(hr_size="whole").cut.crops == 1
    assert DegradePairs.identity(DegradePairs.Config(hr_size="whole", crops=2))["crops"] == 2
    assert DegradePairs.identity(DegradePairs.Config()) == DegradePairs.identity(DegradePairs.Config(crops=4))
