"""A run that found everything shows everything, and where it came from."""

from __future__ import annotations

from pathlib import Path

from pipelines.report.view import gather
from tests.support.workspace import Workspace


def test_a_reused_stage_names_the_run_that_built_it_and_shows_what_that_observed(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    work.texts(a="one")
    work.spec("""
        source: {uses: "toy:Texts", with: {source: ./texts}}
        model: {uses: "toy:Trainer", inputs: {texts: source}, with: {steps: 4}}
    """)
    first, second = work.run(), work.run()
    model = next(stage for stage in gather(work.store, second.result.run).stages if stage.name == "model")
    assert model.state == "reused"
    assert model.because.startswith("built in ")
    assert model.because.endswith(first.result.run)
    assert [len(curve.points) for curve in model.curves] == [4]
