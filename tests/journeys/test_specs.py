"""Every spec that is shipped is valid and can be planned; specs/rsd.yaml is at the published settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.graph import build_graph
from pipelines.spec.load import load_spec
from stages.methods.rsd import RSDConfig
from stages.methods.sinsr import SinSRConfig
from tests.support.cli import ROOT, Sharpline
from tests.support.photos import copy_photos

SPECS = sorted((ROOT / "specs").glob("*.yaml"))


def settings(spec: str, stage: str) -> dict[str, Any]:
    return load_spec(ROOT / "specs" / spec, []).stages[stage].config.model_dump(mode="json")


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_every_shipped_spec_is_valid(spec: Path) -> None:
    assert build_graph(load_spec(spec, []))


def test_the_full_spec_is_planned_from_photographs_and_weights_to_the_scores(tmp_path: Path) -> None:
    photos = copy_photos(tmp_path / "photos", "coffee.png")
    files = {name: tmp_path / f"{name}.pth" for name in ("vq", "lpips")}
    for name, file in files.items():
        file.write_bytes(f"stands for {name}".encode())
    given = {"photos": photos, **files}
    sets = [word for name, value in given.items() for word in ("--set", f"params.{name}={value}")]
    plan = Sharpline().plan(ROOT / "specs" / "rsd.yaml", "--store", tmp_path / "store", *sets)
    assert set(plan) == {"photos", "pairs", "autoencoder", "lpips", "latents", "teacher", "rsd", "sinsr", "scores"}
    assert {stage["state"] for stage in plan.values()} <= {"run", "pending"}


def test_the_full_spec_distils_as_the_papers_do() -> None:
    """Where the stages' defaults are the papers', the spec says the same; what it adds is LPIPS and the precision."""
    rsd, sinsr = settings("rsd.yaml", "rsd"), settings("rsd.yaml", "sinsr")
    assert rsd["losses"] == [{"kind": "lpips", "weight": 2.0, "trunk": "alex"}]
    for found, stage in ((rsd, RSDConfig(steps=1)), (sinsr, SinSRConfig(steps=1))):
        published = stage.model_dump(mode="json")
        of_method = set(published) & {
            "training", "variant", "fake_updates", "nodes", "noise_channels", "normalise", "gan", "fake", "inverse",
            "ground_truth", "data",
        }  # fmt: skip
        assert {name: found[name] for name in of_method} == {name: published[name] for name in of_method}
    teacher = settings("rsd.yaml", "teacher")
    assert teacher["process"] == {"timesteps": 15, "kappa": 2.0, "power": 0.3, "min_noise": 0.04, "end": 0.99}
    assert (rsd["steps"], sinsr["steps"], teacher["steps"]) == (3000, 30000, 300000)
