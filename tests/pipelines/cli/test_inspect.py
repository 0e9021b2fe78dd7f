"""``sharpline inspect``: what is shown is what there is, on a page that needs nothing else."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degrade.presets import load_preset
from degrade.ranges import stated_ranges
from pipelines.cli import inspect as cli
from pipelines.cli.main import main
from pipelines.inspection import Inspection, Look, Names, Numbers
from pipelines.lookup import find_built, open_artifact
from tests.support.built import BuiltSpec, built_spec


@pytest.fixture(scope="module")
def spec() -> BuiltSpec:
    return built_spec()


def look(
    spec: BuiltSpec, *where: str, count: int = 4, seed: int = 0, pictures: bool = False, stage: str = "pairs"
) -> Inspection:
    from stages.commands.inspect_pairs import inspect

    return inspect(find_built(spec.file, stage), Look(count, seed, where, pictures))


# ---------------------------------------------------------------- what is counted


def test_every_distribution_counts_every_drawn_value(spec: BuiltSpec) -> None:
    table = open_artifact(spec.file, "pairs").table()
    stated = stated_ranges(load_preset("real-esrgan"))
    seen = set()
    for group in look(spec).groups:
        for member in group.members:
            seen.add(member.name)
            values = [v for v in table[f"r_{member.name}"].to_pylist() if v is not None]
            assert member.total == len(values)
            if isinstance(member, Numbers):
                assert (member.least, member.most) == (min(values), max(values))
                assert member.mean == pytest.approx(np.mean(values))
                edges = np.linspace(member.low, member.high, len(member.counts) + 1)
                assert list(np.histogram(values, edges)[0]) == list(member.counts)
                if member.name in stated:
                    assert member.stated == (stated[member.name].low, stated[member.name].high)
            elif member.name != "symmetry":
                spelled = [{True: "yes", False: "no"}.get(v, v) for v in values]
                assert member.counts == {name: spelled.count(name) for name in set(spelled)}
    assert {"jpeg1_quality", "blur1_family", "gaussian1_sigma", "resize1_factor", "final", "box_x"} <= seen


def test_an_operators_share_is_that_of_the_pairs(spec: BuiltSpec) -> None:
    applied = open_artifact(spec.file, "pairs").table()["r_gaussian1_applied"].to_pylist()
    notes = {group.name: group.note for group in look(spec).groups}
    assert notes["gaussian1"] == f"applied to {100 * sum(applied) / len(applied):.3g} %"
    assert notes["jpeg1"] == "applied to all"


def test_totals(spec: BuiltSpec) -> None:
    facts = dict(look(spec).facts)
    table = open_artifact(spec.file, "pairs").table()
    assert facts["Pairs"] == "12"
    assert facts["Photographs"] == "2"
    assert facts["Pairs a photograph"] == "6"
    assert facts["Size"] == f"{sum(table['size'].to_pylist()) / 1000:.3g} kB"
    assert sum(int(facts[split]) for split in ("Train", "Val", "Test") if split in facts) == 12


def test_a_condition_limits_everything(spec: BuiltSpec) -> None:
    quality = open_artifact(spec.file, "pairs").table()["r_jpeg1_quality"].to_pylist()
    middle = sorted(quality)[6]
    found = look(spec, f"jpeg1_quality<{middle}", count=50, pictures=True)
    expected = sum(value < middle for value in quality)
    assert (found.chosen, found.total, len(found.figures)) == (expected, 12, expected)
    (shown,) = [m for group in found.groups for m in group.members if m.name == "jpeg1_quality"]
    assert shown.most < middle
    both = look(spec, f"jpeg1_quality<{middle}", "symmetry=h")
    assert [m for group in both.groups for m in group.members if isinstance(m, Names) and m.name == "symmetry"] == []


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("jpeg1_qualty<40", "did you mean 'jpeg1_quality'?"),
        ("jpeg1_quality<high", "jpeg1_quality is of type int64, got 'high'"),
        ("jpeg1_quality", "expected COLUMN and a comparison"),
        ("jpeg1_quality<1", "no pair of pairs meets jpeg1_quality<1"),
    ],
)
def test_a_wrong_condition_is_explained(
    spec: BuiltSpec, where: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(spec.file), "pairs", "--where", where]) == 2
    assert said in capsys.readouterr().err


def test_a_seed_chooses(spec: BuiltSpec) -> None:
    def names(seed: int) -> list[str]:
        return [figure.name for figure in look(spec, seed=seed, pictures=True).figures]

    assert names(1) == names(1) == sorted(names(1))
    assert len({tuple(names(seed)) for seed in range(6)}) > 3


def test_pairs_made_on_line_look_like_those_that_are_stored(spec: BuiltSpec) -> None:
    stored, live = (look(spec, "blur1_size>8", count=12, pictures=True, stage=stage) for stage in ("pairs", "live"))
    assert {group.name: group for group in live.groups} == {group.name: group for group in stored.groups}
    assert [(f.name, f.pictures, f.notes) for f in live.figures] == [
        (f.name, f.pictures, f.notes) for f in stored.figures
    ]


# ---------------------------------------------------------------- what is shown


def test_a_page_needs_nothing_else(spec: BuiltSpec, tmp_path: Path) -> None:
    done = spec("inspect", "spec.yaml", "pairs", "-n", "5", "-o", tmp_path / "sub" / "page.html")
    assert done.code == 0, done.err
    assert done.out.strip() == (tmp_path / "sub/page.html").as_uri()
    page = (tmp_path / "sub/page.html").read_text()
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\((?!data:)", page)
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert sum(source.startswith("data:image/png;base64,") for source in sources) == 10
    for expected in ("5 of 12 pairs", "stated 30 to 95", "applied to all", "gaussian1"):
        assert expected in page


def test_a_contact_sheet_shows_the_stored_pixels(spec: BuiltSpec, tmp_path: Path) -> None:
    found = look(spec, count=1, pictures=True)
    lr, hr = (Image.open(io.BytesIO(data)).convert("RGB") for _, data in found.figures[0].pictures)
    assert found.contact_sheet is not None
    sheet = np.asarray(Image.open(io.BytesIO(found.contact_sheet())))
    for picture in (lr, hr):
        tile = np.asarray(picture.resize((192, 192), Image.Resampling.NEAREST))
        windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], (192, 192))
        places = np.argwhere((windows[:, :, 0, :] == tile[0, :, 0]).all(axis=2))
        assert any(np.array_equal(sheet[y : y + 192, x : x + 192], tile) for y, x in places)


def test_text_says_the_same(spec: BuiltSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(spec.file), "pairs"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"  Pairs +12\n", text)
    assert re.search(r"  jpeg1_quality +[▁-█ ]+ \d+ to \d+, mean [\d.]+   \(stated 30 to 95\)\n", text)


def test_kinds_without_an_inspector_show_files_and_columns(spec: BuiltSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(spec.file), "photos"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"pack-\d\d.tar +[\d.]+ kB  [0-9a-f]{12}\n", text)
    assert "index.parquet: 2 rows" in text
    assert re.search(r"  height +int32 +300 to 400\n", text)
    assert main(["inspect", str(spec.file), "photos", "-o", "page.html"]) == 2
    assert "-o: artifacts of images have no inspector" in capsys.readouterr().err


def test_another_suffix_is_refused(spec: BuiltSpec, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("page.pdf", "page"):
        assert main(["inspect", str(spec.file), "pairs", "-o", name]) == 2
        assert "expected a file name that ends in .html or .png" in capsys.readouterr().err


def test_a_broken_inspector_says_whose_it_is(
    spec: BuiltSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("samples/pairs", "no_such_module:inspect", cli.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [point])
    assert main(["inspect", str(spec.file), "pairs"]) == 2
    assert "the inspector for samples/pairs comes with" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["folder.png", "folder.html", "file/page.html", "/proc/none.html"])
def test_a_place_that_takes_no_file_is_a_usage_error(
    spec: BuiltSpec, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("folder.png", "folder.html"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_text("mine")
    assert main(["inspect", str(spec.file), "pairs", "-n", "1", "-o", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert f"-o {tmp_path / name}: cannot be written: " in said
    assert "name a place that you may write to" in said
