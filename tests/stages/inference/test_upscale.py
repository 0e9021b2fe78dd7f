"""upscale: a folder of photographs through a model, one unit an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch

from pipelines.artifact import Entry
from pipelines.keys import partition_key
from pipelines.stage import StageError
from stages.data.pixels import decode_rgb
from stages.data.tensors import to_image, to_pixels
from stages.inference.upscale import Upscale, UpscaleConfig, entry_names
from stages.ingest.images import IngestImages
from tests.stages.evaluation.test_evaluate import CONSTRUCTOR, untrained
from tests.support.harness import FolderArtifact, run_stage
from tests.support.photos import bundled


@dataclass(frozen=True)
class Table:
    """An artifact whose index is another."""

    artifact: FolderArtifact
    rows: object

    label = "images"

    def table(self):
        return self.rows


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three small photographs, two of one name but for the suffix, one gray."""
    folder = tmp_path_factory.mktemp("photos")
    cat = cv2.resize(cv2.imread(str(bundled("chelsea.png"))), (70, 45), interpolation=cv2.INTER_AREA)
    coins = cv2.resize(cv2.imread(str(bundled("coins.png")), 0), (33, 31), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "My cat.png"), cat)
    cv2.imwrite(str(folder / "my cat.jpg"), cat)
    (folder / "sub").mkdir()
    cv2.imwrite(str(folder / "sub" / "coins.png"), coins)
    config = {"source": str(folder), "min_size": 16}
    return run_stage(IngestImages, folder.parent / f"{folder.name}-ingested", config).artifacts["images"]


def upscale(folder, images, model, **config):
    return run_stage(Upscale, folder, config, {"images": images, "model": model})


def test_every_photograph_comes_out_at_its_own_name_and_four_times_the_size(tmp_path, images):
    run = upscale(tmp_path / "u", images, untrained(tmp_path / "m", "teacher"))
    out = run.artifacts["images"]
    rows = out.table().to_pylist()
    sources = {row["image"]: row for row in images.table().to_pylist()}
    assert len(rows) == 3
    assert {row["source"] for row in rows} == set(sources)
    for row in rows:
        source = sources[row["source"]]
        data = out.read(row["entry"], row["offset"], row["size"])
        assert decode_rgb(data).shape == (4 * source["height"], 4 * source["width"], 3)
        assert (row["height"], row["width"]) == (4 * source["height"], 4 * source["width"])
        assert row["split"] == source["split"]
    names = {row["entry"] for row in rows}
    assert "sub/coins.png" in names
    assert {name for name in names if name.lower().startswith("my_cat-")} == names - {"sub/coins.png"}
    assert {f"{name}/{what}" for name in names for what in ("lr", "sr")} == set(run.context.images)


def test_an_untrained_model_enlarges_bicubically_in_tiles_or_not(tmp_path, images):
    model = untrained(tmp_path / "m", "teacher")
    whole = upscale(tmp_path / "a", images, model, tile=None).artifacts["images"]
    tiled = upscale(tmp_path / "b", images, model, tile=24, overlap=12).artifacts["images"]
    coins = next(row for row in images.table().to_pylist() if row["name"] == "sub/coins.png")
    lr = decode_rgb(images.read(coins["entry"], coins["offset"], coins["size"]))
    up = torch.nn.functional.interpolate(to_image(lr)[None], scale_factor=4.0, mode="bicubic")[0]
    for out in (whole, tiled):
        assert np.abs(decode_rgb(out.read("sub/coins.png")).astype(int) - to_pixels(up)).max() <= 1


def test_the_unit_of_an_image_knows_the_image_and_the_model_and_nothing_else(tmp_path, images):
    model = untrained(tmp_path / "m", "teacher")
    other = untrained(tmp_path / "n", "teacher", network={**CONSTRUCTOR["network"], "widths": [12]})
    index = images.table()
    fewer = Table(images, index.filter([name != "sub/coins.png" for name in index["name"].to_pylist()]))

    def keys(images, model):
        parts = Upscale.partitions(UpscaleConfig(), {"images": images, "model": model}, {})
        return {part.id: partition_key("family", part) for part in parts}

    before = keys(images, model)
    assert len(set(before.values())) == 3
    assert keys(replace(images, label="x"), replace(model, label="student")) == before
    assert not set(keys(images, other).values()) & set(before.values())
    assert keys(fewer, model).items() < before.items()


def test_order_and_interruption_change_no_byte(tmp_path, images):
    model = untrained(tmp_path / "m", "teacher")
    first = upscale(tmp_path / "a", images, model).artifacts["images"]
    again = run_stage(Upscale, tmp_path / "b", {}, {"images": images, "model": model}, reverse=True).artifacts["images"]
    assert first.digest == again.digest


def test_settings_that_the_model_does_not_take_are_refused_in_words(tmp_path, images):
    deep = untrained(tmp_path / "m", "teacher", network={**CONSTRUCTOR["network"], "widths": [8, 8, 8, 8]})
    with pytest.raises(StageError, match=r"tile 8 with overlap 4: this network takes multiples of 8"):
        upscale(tmp_path / "a", images, deep, tile=8, overlap=4)
    with pytest.raises(StageError, match="expected 1 to 4"):
        upscale(tmp_path / "b", images, deep, steps=9)
    with pytest.raises(ValueError, match="overlap 32 must be less than tile 32"):
        UpscaleConfig(tile=32)


def test_entry_names_are_portable_and_never_meet():
    names = ["a/Grüße 1.JPG", ".x/..y.png", "b.tif", "B.png", "猫.jpg", "犬.jpg", ".png"]
    rows = [{"name": name, "image": f"{i}" * 64} for i, name in enumerate(names)]
    found = entry_names(rows)
    assert found == [
        "a/Gru_e_1.png", "x/y.png", "b-22222222.png", "B-33333333.png", "_-44444444.png", "_-55555555.png", "png.png",
    ]  # fmt: skip
    assert all(Entry(name, "", 0) for name in found)
