"""``sharpline report`` and ``sharpline runs``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import report, runs
from pipelines.errors import UsageError
from tests.support.example_run import RUN, quickstart


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    made.command("report")(report.command)
    made.command("runs")(runs.command)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return quickstart(tmp_path_factory.mktemp("cli")).url


def test_report_prints_a_link_to_the_latest_runs_page(app: typer.Typer, store: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "--store", store])
    assert result.output.startswith("file:///")
    assert result.output.strip().endswith(f"runs/{RUN}/report.html")
    out = tmp_path / "here.html"
    assert CliRunner().invoke(app, ["report", "--store", store, "--run", RUN[:12], "--out", str(out)]).exit_code == 0
    assert "<h1>quickstart</h1>" in out.read_text(encoding="utf-8")
    beside = CliRunner().invoke(app, ["report", "--store", store, "--run", RUN[:12], "--out", str(out / "below.html")])
    assert isinstance(beside.exception, UsageError)
    assert "below.html: cannot be written: " in str(beside.exception)


def test_runs_lists_status_time_and_counts(app: typer.Typer, store: str) -> None:
    head, line = CliRunner().invoke(app, ["runs", "--store", store]).output.splitlines()
    assert head.split() == ["RUN", "STATUS", "STARTED", "TOOK", "STAGES"]
    assert line.startswith(f"{RUN}  ok ")
    assert line.endswith("2 m 14 s  3 built, 1 reused of 4")
    (row,) = CliRunner().invoke(app, ["runs", "--store", store, "--json"]).output.splitlines()
    assert json.loads(row)["status"] == "ok"


def test_a_store_that_is_not_there_is_an_explained_error(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["runs", "--store", str(tmp_path / "none")])
    assert "no store at" in str(result.exception)
    assert not (tmp_path / "none").exists()
