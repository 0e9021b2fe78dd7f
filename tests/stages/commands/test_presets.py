"""``sharpline degrade presets`` and ``preview``: a preset can be read and looked at before it is used."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degrade.presets import load_preset, parse_preset, preset_names
from pipelines.cli.main import main
from pipelines.lookup import open_artifact
from tests.support.built import built_spec


def test_all_are_listed_with_a_description_and_their_operators(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["degrade", "presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in preset_names():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
        assert len(lines[at].removeprefix(name).strip()) > 20
        assert set(lines[at + 1].strip().split(", ")) == {operator.op for operator in load_preset(name).operators()}


@pytest.mark.parametrize("name", preset_names())
def test_what_is_printed_is_the_preset(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["degrade", "presets", name]) == 0
    assert parse_preset(capsys.readouterr().out, "printed") == load_preset(name)


def test_an_unknown_preset_has_a_nearest_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["degrade", "presets", "real-esrgam"]) == 2
    assert "did you mean 'real-esrgan'?" in capsys.readouterr().err
    assert main(["degrade", "preview", "real-esrgam", "x.png", "-o", str(tmp_path / "o.png")]) == 2


def test_a_preview_shows_the_pairs_that_the_stage_makes(tmp_path: Path) -> None:
    spec = built_spec()
    photo = spec.photos / "chelsea.png"
    out = tmp_path / "sheet.png"
    arguments = ["real-esrgan", photo, "-o", out, "-n", "2", "--hr-size", "64", "--seed", "1"]
    assert main(["degrade", "preview", *map(str, arguments)]) == 0
    sheet = np.asarray(Image.open(out))
    pairs = open_artifact(spec.file, "pairs")
    named = {row["name"]: row["image"] for row in open_artifact(spec.file, "photos").table().to_pylist()}
    rows = [row for row in pairs.table().to_pylist() if row["image"] == named["chelsea.png"] and row["crop"] < 2]
    assert len(rows) == 2
    for row in rows:
        for part in ("lr", "hr"):
            data = pairs.read(row["shard"], row[f"{part}_offset"], row[f"{part}_size"])
            tile = np.asarray(Image.open(io.BytesIO(data)).resize((192, 192), Image.Resampling.NEAREST))
            windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 1], (1, 192))[:, :, 0]
            places = np.argwhere((windows == tile[0, :, 1]).all(axis=2))
            assert any(np.array_equal(sheet[y : y + 192, x : x + 192], tile) for y, x in places)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bicubic", "missing.png", "-o", "s.png"], "missing.png: cannot be read"),
        (["bicubic", "{text}", "-o", "s.png"], "cannot be decoded"),
        (["bicubic", "{photo}", "-o", "s.jpg"], "expected a file name that ends in .png"),
        (["bicubic", "{photo}", "-o", "s.png", "--hr-size", "2048"], "an HR crop takes 2048 x 2048"),
    ],
)
def test_a_wrong_preview_is_explained(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    places = {"text": tmp_path / "text.png", "photo": built_spec().photos / "coffee.png"}
    assert main(["degrade", "preview", *(text.format(**places) for text in arguments)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["folder.png", "file/sheet.png", "/proc/none.png"])
def test_a_sheet_that_cannot_be_written_is_a_usage_error(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("mine")
    arguments = ["bicubic", built_spec().photos / "chelsea.png", "-n", "1", "--hr-size", "16", "-o", tmp_path / name]
    assert main(["degrade", "preview", *map(str, arguments)]) == 2
    assert f"-o {tmp_path / name}: cannot be written: " in capsys.readouterr().err


def test_a_seed_beyond_64_bits_is_refused_by_its_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bicubic", built_spec().photos / "chelsea.png", "-o", tmp_path / "o.png", "--seed", 2**64]
    assert main(["degrade", "preview", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert "'--seed'" in said
    assert f"less than or equal to {2**64 - 1}" in said
