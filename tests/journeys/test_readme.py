"""The README's own spec and stage, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.support.cli import ROOT, Sharpline
from tests.support.photos import copy_photos

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_spec_is_valid_and_the_stage_runs_in_it(tmp_path: Path) -> None:
    copy_photos(tmp_path / "photos")
    spec = yaml.safe_load(blocks("yaml")[0])
    addition = yaml.safe_load(blocks("yaml")[1])
    spec["code"] = addition["code"]
    spec["stages"] |= addition["stages"]
    (tmp_path / "portraits.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    package = tmp_path / "my_stages"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sharpness.py").write_text(blocks("python")[0])
    sharpline = Sharpline(cwd=tmp_path)
    assert sharpline("validate", "portraits.yaml").code == 0
    done = sharpline("run", "portraits.yaml", "-s", "+sharpness", "--executor", "local")
    assert done.code == 0, done.out + done.err
    assert sharpline.plan("portraits.yaml")["sharpness"]["state"] == "cached"


def test_every_file_that_it_names_is_there() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:specs|tests|pipelines|degrade|stages|docs)/[a-z_/.0-9-]*)`", README):
        assert (ROOT / name).exists(), name
