"""``sharpline validate``: what it prints, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.support.specs import SpecFolder

GOOD = """
stages:
  photos: {uses: TOY:Texts, with: {source: ./texts}}
  upper: {uses: TOY:Upper, inputs: {texts: photos}}
"""


SHOWN = """\
--set #1: stages.upper.retries: got -1
    1 | stages.upper.retries=-1
      |                      ^^
      expected: a whole number from 0 to 100
spec.yaml:5:81: stages.upper.with.sufix: unknown field
    5 |   upper: {uses: tests.support.toy_stages:Upper, inputs: {texts: photos}, with: {sufix: x}}
      |                                                                                 ^^^^^
      expected: suffix, only, delay, fail_at
      did you mean 'suffix'?
2 problems; nothing was started
"""


@pytest.fixture
def specs(tmp_path: Path) -> SpecFolder:
    return SpecFolder(tmp_path)


def test_a_valid_spec(specs: SpecFolder, capsys: pytest.CaptureFixture[str]) -> None:
    file = specs.write(GOOD)
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().out == f"{file} is valid: 2 stages, 1 edge\n"


def test_a_problem_is_shown_whole(
    specs: SpecFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(specs.path)
    specs.write(GOOD.replace("inputs: {texts: photos}", "inputs: {texts: photos}, with: {sufix: x}"))
    assert main(["validate", "spec.yaml", "--set", "stages.upper.retries=-1"]) == 2
    assert capsys.readouterr().err == SHOWN


def test_the_result_as_json(specs: SpecFolder, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(specs.write(GOOD))
    assert main(["validate", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1, "valid": True, "problems": [], "stages": ["photos", "upper"],
    }  # fmt: skip
    assert main(["validate", file, "--json", "--set", "stages.upper.uses=TOY"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is False
    assert found["problems"][0]["path"] == "stages.upper.uses"
    assert {"file", "line", "column", "message", "expected", "nearest"} <= found["problems"][0].keys()


def test_a_spec_of_the_newest_version_needs_no_migration(specs: SpecFolder, capsys: pytest.CaptureFixture[str]) -> None:
    file = specs.write(GOOD)
    before = file.read_bytes()
    assert main(["migrate", str(file)]) == 0
    assert file.read_bytes() == before
    assert "nothing to do" in capsys.readouterr().out
    file.write_text("sharpline: 9\n")
    assert main(["migrate", str(file)]) == 2
    assert "reads up to 1" in capsys.readouterr().err


def test_a_list_that_is_too_short_is_said_in_our_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "sharpline: 1\nname: short\n"
        "stages: {teacher: {uses: train.resshift, with: {steps: 1, network: {widths: []}}}}\n"
    )
    assert main(["validate", str(spec)]) == 2
    said = capsys.readouterr().err
    assert "stages.teacher.with.network.widths: the list has 0 values" in said
    assert "expected: a list of at least 1\n" in said
