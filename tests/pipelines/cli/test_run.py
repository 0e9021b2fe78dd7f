"""``sharpline run`` and ``plan``: what is refused before anything starts, and what a plan says of what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.scheduler import Options
from tests.support.workspace import Workspace, chain


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return chain(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-s", "joined"], "joined needs source, upper, which --select leaves out and which is not built"),
        (["-s", "source", "-s", "joined"], "joined needs upper"),
        (["-s", "upper[1]"], "upper needs source"),
        (["-s", "source", "--rebuild", "upper"], "--rebuild upper: --select leaves this stage out"),
        (["--rebuild", "upper[1]"], "--rebuild upper[...]: expected a whole stage"),
        (["--rebuild", "uper"], "--rebuild 'uper': no stage is called 'uper'; did you mean 'upper'?"),
        (["--store", "gs://bucket"], "expected a folder or s3://bucket/prefix, got scheme 'gs'"),
    ],
)
def test_what_cannot_be_built_is_refused_and_starts_nothing(
    work: Workspace, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(work.file), "--executor", "local", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert work.store.runs() == []


def test_a_selection_whose_needs_are_built_runs(work: Workspace) -> None:
    work.run(options=Options(selected=frozenset({"source"})))
    assert main(["run", str(work.file), "--executor", "local", "-s", "upper", "--rebuild", "upper"]) == 0
    assert work.states() == {"source": "cached", "upper": "cached", "joined": "run"}
    work.texts(d="four")
    assert main(["run", str(work.file), "--executor", "local", "-s", "upper"]) == 2


def test_a_plan_says_once_what_is_left(work: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    work.run(options=Options(selected=frozenset({"source"})))
    work.run(options=Options(selected=frozenset({"upper"}), partitions={"upper": frozenset({"1"})}))
    assert main(["plan", str(work.file), "-s", "upper"]) == 0
    assert capsys.readouterr().out.count("2 of 3 partitions left") == 1
