"""``sharpline degrade replay``: a record and its photograph give the stored pair again, and nothing else does."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli.main import main
from pipelines.lookup import open_artifact
from stages.data.encoders import encode
from stages.data.pixels import decode_rgb
from stages.data.tar import TarWriter
from tests.support.built import BuiltSpec, built_spec
from tests.support.photos import bundled

Edit = Callable[[dict[str, bytes]], dict[str, bytes]]


@pytest.fixture(scope="module")
def spec() -> BuiltSpec:
    return built_spec()


@pytest.fixture(scope="module")
def shard(spec: BuiltSpec) -> Path:
    """A stored shard, by the name that it has in the store."""
    artifact = open_artifact(spec.file, "pairs")
    return artifact.open(artifact.table()["shard"][0].as_py())


@pytest.fixture(scope="module")
def key(spec: BuiltSpec) -> str:
    """A key of that shard."""
    return str(open_artifact(spec.file, "pairs").table()["key"][0])


def members(shard: Path, key: str) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {m.name.removeprefix(f"{key}."): tar.extractfile(m).read() for m in tar if m.name.startswith(f"{key}.")}


def edited(shard: Path, key: str, folder: Path, edit: Edit) -> Path:
    """A shard with this one sample, changed."""
    path = folder / "edited.tar"
    with TarWriter(path) as tar:
        tar.add((f"{key}.{name}", data) for name, data in edit(members(shard, key)).items())
    return path


def replay(*arguments: str | Path) -> int:
    return main(["degrade", "replay", *map(str, arguments)])


# ---------------------------------------------------------------- identical


def test_from_a_spec(spec: BuiltSpec, shard: Path, key: str, tmp_path: Path) -> None:
    done = spec("degrade", "replay", "spec.yaml", "pairs", key, "-o", tmp_path)
    assert done.code == 0, done.err
    assert re.search(r"photograph (chelsea|coffee)\.png, from photos", done.out)
    assert "hr identical" in done.out
    assert "lr identical" in done.out
    stored = members(shard, key)
    for part in ("hr", "lr"):
        assert (tmp_path / f"{key}.{part}.png").read_bytes() == stored[f"{part}.png"]


@pytest.mark.parametrize("place", ["file", "folder", "renamed", "pack"])
def test_from_a_shard_and_a_photograph_anywhere(
    place: str, spec: BuiltSpec, shard: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = json.loads(members(shard, key)["json"])["image"]
    rows = {row["image"]: row for row in open_artifact(spec.file, "photos").table().to_pylist()}
    name = rows[image]["name"]
    if place == "renamed":
        (tmp_path / "deep").mkdir()
        shutil.copyfile(bundled(name), tmp_path / "deep" / "other.png")
    where = {
        "file": spec.photos / name,
        "folder": spec.photos,
        "renamed": tmp_path,
        "pack": tmp_path / "pack.tar",
    }[place]
    if place == "pack":
        shutil.copyfile(open_artifact(spec.file, "photos").open(rows[image]["entry"]), where)
    assert replay(shard.resolve(), key, "--images", where, "-o", tmp_path / "out") == 0
    assert "hr identical" in capsys.readouterr().out


# ---------------------------------------------------------------- different


def weaker_jpeg(files: dict[str, bytes]) -> dict[str, bytes]:
    """The record says another JPEG quality than the one that was used."""
    about = json.loads(files["json"])
    step = next(step for step in about["recipe"]["steps"] if step["op"] == "jpeg")
    step["quality"] = 99 if step["quality"] < 90 else 31
    return {**files, "json": json.dumps(about).encode()}


def touched_pixel(files: dict[str, bytes]) -> dict[str, bytes]:
    pixels = decode_rgb(files["hr.png"])
    pixels[3, 5, 0] ^= 1
    return {**files, "hr.png": encode(pixels, "png")}


def other_size(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "lr.png": encode(np.zeros((8, 8, 3), np.uint8), "png")}


def half_an_image(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "lr.png": files["lr.png"][:200]}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (weaker_jpeg, r"lr differs: at most \d+ of 255 apart, PSNR [\d.]+ dB, [\d.]+% of the pixels"),
        (touched_pixel, r"hr differs: at most 1 of 255 apart, PSNR 89\.0 dB"),
        (other_size, "lr differs: 8 x 8 px are stored and the record gives 16 x 16"),
        (half_an_image, "lr differs: the stored png cannot be decoded"),
    ],
)
def test_what_was_tampered_with_is_told(
    edit: Edit, said: str, spec: BuiltSpec, shard: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(shard, key, tmp_path, edit)
    assert replay(path, key, "--images", spec.photos, "-o", tmp_path) == 1
    assert re.search(said, capsys.readouterr().out)


def other_image(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "json": json.dumps({**json.loads(files["json"]), "image": "0" * 64}).encode()}


def newer(files: dict[str, bytes]) -> dict[str, bytes]:
    about = json.loads(files["json"])
    return {**files, "json": json.dumps({**about, "recipe": {**about["recipe"], "recipe": 2}}).encode()}


@pytest.mark.parametrize(("edit", "said"), [(other_image, "contradicts itself"), (newer, "this recipe has version 2")])
def test_a_record_that_cannot_be_used_is_a_usage_error(
    edit: Edit, said: str, shard: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(edited(shard, key, tmp_path, edit), key, "--show") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("ext", "kind", "quality"), [("jpg", "jpeg", 95), ("webp", "webp", 90)])
def test_lossy_images_are_compared_as_far_as_they_can_be(
    ext: str, kind, quality: int, spec: BuiltSpec, shard: Path, key: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def lossy(files: dict[str, bytes]) -> dict[str, bytes]:
        hr = files.pop("hr.png")
        return {**files, f"hr.{ext}": encode(decode_rgb(hr), kind, quality)}

    path = edited(shard, key, tmp_path, lossy)
    assert replay(path, key, "--images", spec.photos, "-o", tmp_path) == 0
    said = capsys.readouterr().out
    assert re.search(rf"hr stored as lossy {ext}, so it cannot be compared exactly: .* PSNR [3-5]\d\.\d dB", said)
    assert "lr identical" in said


def test_lossless_webp_is_compared_to_the_pixel(
    spec: BuiltSpec, shard: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def exact(files: dict[str, bytes]) -> dict[str, bytes]:
        pixels = decode_rgb(files.pop("hr.png"))
        pixels[0, 0, 0] ^= 1
        return {**files, "hr.webp": encode(pixels, "webp")}

    assert replay(edited(shard, key, tmp_path, exact), key, "--images", spec.photos, "-o", tmp_path) == 1
    assert "hr differs: at most 1 of 255 apart" in capsys.readouterr().out


# ---------------------------------------------------------------- what is missing


def test_without_a_photograph_its_digest_is_asked_for(
    shard: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = json.loads(members(shard, key)["json"])["image"]
    assert replay(shard, key) == 2
    assert f"the photograph with sha256 {image}, " in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    assert replay(shard, key, "--images", tmp_path) == 2
    assert f"it is not in {tmp_path}" in capsys.readouterr().err


def test_a_key_may_be_short_but_not_ambiguous(shard: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(shard, key[:-1], "--show") == 2
    assert re.search(r"6 keys begin with .* and 1 more; give more of the key", capsys.readouterr().err)
    assert replay(shard, "zz", "--show") == 2
    assert "no key is or begins with 'zz'; it holds" in capsys.readouterr().err
    assert replay(shard, key, "--show") == 0


def test_show_prints_the_whole_recipe(
    spec: BuiltSpec, key: str, shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(shard, key, "--show") == 0
    text = capsys.readouterr().out
    recipe = json.loads(members(shard, key)["json"])["recipe"]
    for step in recipe["steps"]:
        assert re.search(rf"step +\d+    {step['id']} +{step['op']}: ", text)
    quality = next(step["quality"] for step in recipe["steps"] if step["op"] == "jpeg")
    assert f"quality {quality} of 100" in text
    assert f"lr         16 × 16 px (scale {recipe['scale']})" in text
    assert replay(spec.file, "pairs", key, "--show", "-o", tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[1:] == text.splitlines()[1:]
    assert not list(tmp_path.iterdir()), "nothing is rendered"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("file", "is a file; name a folder"),
        ("file/below", "cannot be written: Not a directory"),
        ("/proc/none", "cannot be written: No such file or directory"),
        ("taken", "cannot be written: Is a directory"),
    ],
)
def test_a_place_that_takes_no_images_is_a_usage_error(
    out: str, said: str, spec: BuiltSpec, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / f"{key}.hr.png").mkdir(parents=True)
    assert replay(spec.file, "pairs", key, "-o", tmp_path / out) == 2
    error = capsys.readouterr().err
    assert f"-o {tmp_path / out}" in error
    assert said in error


def test_a_stage_of_photographs_holds_no_pairs(spec: BuiltSpec, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(spec.file, "photos", key) == 2
    assert "photos is images and no set of stored pairs; name a stage that uses degrade" in capsys.readouterr().err


def impossible(files: dict[str, bytes]) -> dict[str, bytes]:
    about = json.loads(files["json"])
    step = next(step for step in about["recipe"]["steps"] if step["op"] == "resize")
    step["width"] = 1 << 20
    return {**files, "json": json.dumps(about).encode()}


def test_a_record_of_impossible_images_is_refused(
    spec: BuiltSpec, shard: Path, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(edited(shard, key, tmp_path, impossible), key, "--images", spec.photos, "-o", tmp_path) == 2
    assert "over 4 times the sides of" in capsys.readouterr().err


def test_pairs_made_on_line_are_not_stored(spec: BuiltSpec, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(spec.file, "live", key) == 2
    assert "none is stored, so there is nothing to compare with" in capsys.readouterr().err


def test_a_wrong_command_line_says_the_two_forms(spec: BuiltSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("a", "b", "c", "d") == 2
    assert "expected SHARD.tar KEY or SPEC STAGE KEY" in capsys.readouterr().err
    assert replay(spec.file, "key") == 2
    assert "cannot be read as a shard" in capsys.readouterr().err
