"""``sharpline stages``: what can be used, and how."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.registry import known_stages
from tests.support import toy_stages


def test_one_stage_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages", f"{toy_stages.MODULE}:Trainer"]) == 0
    text = capsys.readouterr().out
    for line in (
        "  steps: whole number >= 1; default 10",
        "  optimizer.rate: number > 0, <= 1; default 0.5",
        "  optimizer.milestones: list of whole number; default []",
        "      Steps between checkpoints; execution: never part of a key",
        "  texts: samples [role=texts]",
        "  model: model [role=sr family=toy]",
        "runs as one unit; a change of its code is shown, not rebuilt",
    ):
        assert line in text.splitlines()


def test_one_stage_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages", f"{toy_stages.MODULE}:Texts", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    fields = {field["name"]: field for field in data["fields"]}
    assert fields["source"] == {
        "name": "source", "type": "text", "default": None, "role": "source", "doc": "Folder with the texts.",
    }  # fmt: skip
    assert fields["encoding"]["type"] == '"utf-8" or "latin-1"'
    assert data["partitioned"] is True
    assert data["inputs"] == []


def test_roles_are_found_inside_of_unions() -> None:
    from pipelines.spec.roles import field_role, is_location

    fields = toy_stages.Trainer.Config.model_fields
    roles = {name: field_role(field) for name, field in fields.items()}
    assert roles == {
        "steps": "extendable", "optimizer": "identity", "seed": "identity", "clip": "identity", "weights": "source",
        "save_every": "execution", "delay": "execution", "die_at": "execution",
    }  # fmt: skip
    assert is_location(toy_stages.Trainer.Config, ("weights",), "anything")
    assert not is_location(toy_stages.Trainer.Config, ("optimizer", "rate"), "./file.yaml")


def test_installed_stages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name} " in text for name in known_stages())
    assert main(["stages", "--json"]) == 0
    assert [doc["name"] for doc in json.loads(capsys.readouterr().out)] == list(known_stages())


@pytest.mark.parametrize("name", known_stages())
def test_every_installed_stage_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages", name]) == 0
    assert capsys.readouterr().out.startswith(name)


def test_a_package_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_stages_here").mkdir()
    (tmp_path / "own_stages_here/sharpness.py").write_text(
        "from tests.support.toy_stages import Upper\n\nclass Sharpness(Upper):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert main(["stages", "own_stages_here.sharpness:Sharpness"]) == 0
    assert "own_stages_here.sharpness:Sharpness" in capsys.readouterr().out


def test_an_unknown_stage_has_a_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages", "degrade.piars"]) == 2
    assert "did you mean 'degrade.pairs'?" in capsys.readouterr().err
