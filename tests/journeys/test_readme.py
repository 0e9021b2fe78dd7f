"""The README's own spec and stage, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cli import ROOT, Sharpline
from tests.support.photos import copy_photos

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def python_block(start: str) -> str:
    return next(block for block in blocks("python") if start in block.splitlines()[0])


def test_the_spec_is_valid_and_the_stage_runs_in_it(tmp_path: Path) -> None:
    copy_photos(tmp_path / "photos")
    spec = yaml.safe_load(blocks("yaml")[0])
    addition = next(found for found in map(yaml.safe_load, blocks("yaml")) if "code" in found)
    spec["code"] = addition["code"]
    spec["stages"] |= addition["stages"]
    (tmp_path / "portraits.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    package = tmp_path / "my_stages"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sharpness.py").write_text(python_block("my_stages/sharpness.py"))
    sharpline = Sharpline(cwd=tmp_path)
    assert sharpline("validate", "portraits.yaml").code == 0
    done = sharpline("run", "portraits.yaml", "-s", "+sharpness", "--executor", "local")
    assert done.code == 0, done.out + done.err
    assert sharpline.plan("portraits.yaml")["sharpness"]["state"] == "cached"


@pytest.mark.parametrize("stages", [["pairs"], ["large"], ["official", "latents"], ["student"]], ids=" and ".join)
def test_what_else_it_shows_fits_into_the_spec(stages: list[str], tmp_path: Path) -> None:
    copy_photos(tmp_path / "photos")
    spec = yaml.safe_load(blocks("yaml")[0])
    for stage in stages:
        spec["stages"] |= next(found for found in map(yaml.safe_load, blocks("yaml")) if stage in found)
    (tmp_path / "portraits.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    done = Sharpline(cwd=tmp_path)("validate", "portraits.yaml")
    assert done.code == 0, done.out


def test_the_library_makes_a_pair() -> None:
    made: dict[str, Any] = {}
    exec(python_block("from hashlib"), made)
    assert (made["hr"].shape, made["lr"].shape) == ((256, 256, 3), (64, 64, 3))


def test_the_operator_is_the_one_that_is_tested() -> None:
    assert python_block('"""Posterising') == (ROOT / "tests/degrade/operators/posterise.py").read_text()


def test_every_file_that_it_names_is_there() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:specs|tests|pipelines|degrade|stages|docs)/[a-z_/.0-9-]*)`", README):
        assert (ROOT / name).exists(), name
