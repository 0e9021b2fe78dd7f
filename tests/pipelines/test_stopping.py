"""A run that ends asks the units that look at `ctx.stopping` to save, and waits for these alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.run import ECHO, ExecutorChoice
from tests.support.cli import Sharpline, events
from tests.support.workspace import Workspace

RUN = ("run", "spec.yaml", "--executor", "local", "--json")


def workspace(folder: Path, **config: Any) -> Workspace:
    folder.mkdir(exist_ok=True)
    work = Workspace(folder)
    settings = {"trace": str(folder / "trace"), **config}
    work.spec(f"model: {{uses: 'tests.support.polite_stages:Polite', with: {json.dumps(settings)}}}")
    return work


def finished_steps(work: Workspace) -> list[int]:
    trace = work.folder / "trace"
    return [int(line) for line in trace.read_text().splitlines()] if trace.exists() else []


def started(work: Workspace, *options: str) -> subprocess.Popen[str]:
    """A run in the middle of its training."""
    process = Sharpline(cwd=work.folder).start(*RUN, *options)
    while len(finished_steps(work)) < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def ended(process: subprocess.Popen[str], work: Workspace) -> list[dict[str, Any]]:
    """Its events, once it has ended as an interrupted run does: no trace of Python, and its claim given back."""
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in out + err) == (130, False), out + err
    stage = work.plan().stages["model"]
    assert stage.identity is not None
    assert work.store.key_log(stage.identity.key).state().holder is None
    return events(out)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.ci)])
def test_an_interrupted_training_saves_the_step_in_hand_and_goes_on_from_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    work = workspace(tmp_path / "a", delay=0.05)
    process = started(work)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    told = ended(process, work)
    last = finished_steps(work)[-1]
    assert last < 400
    assert [e["seconds"] for e in told if e["type"] == "stage.stopping"] == [25.0]
    assert [e["because"] for e in told if e["type"] == "stage.skipped"] == [f"interrupted: saved after step {last}"]
    assert [e["type"] for e in told if e["type"] in ("stage.failed", "stage.retry")] == []
    assert [e["text"] for e in told if e["type"] == "stage.warning"] == ["there is more to do"]
    assert told[0]["command"] == f"sharpline {' '.join(RUN)}"
    workspace(tmp_path / "a")
    ran = work.run()
    assert [e.data["how"] for e in ran.of("stage.committed")] == ["resumed"]
    assert finished_steps(work) == list(range(1, 401))
    straight = workspace(tmp_path / "b")
    straight.run()
    assert work.plan().stages["model"].outputs == straight.plan().stages["model"].outputs


@pytest.mark.ci
def test_a_unit_that_does_not_stop_is_ended_when_its_time_is_over_or_at_a_second_interrupt(tmp_path: Path) -> None:
    work = workspace(tmp_path / "a", delay=0.05, manner="pretends")
    process = started(work, "--grace", "1")
    process.send_signal(signal.SIGINT)
    assert "stage.stopping" in [event["type"] for event in ended(process, work)]
    patient = workspace(tmp_path / "b", delay=0.05, manner="pretends")
    process = started(patient, "--grace", "1000")
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    while "stage.stopping" not in process.stdout.readline():
        pass
    time.sleep(ECHO)  # sooner, it would be the same interrupt
    process.send_signal(signal.SIGINT)
    assert [e["because"] for e in ended(process, patient) if e["type"] == "stage.skipped"] == ["interrupted"]


def test_a_signal_that_comes_twice_at_once_is_one_interrupt(tmp_path: Path) -> None:
    work = workspace(tmp_path / "a", delay=0.05)
    process = started(work)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    told = ended(process, work)
    because = f"interrupted: saved after step {finished_steps(work)[-1]}"
    assert [e["because"] for e in told if e["type"] == "stage.skipped"] == [because]


def test_a_unit_that_never_looked_is_not_waited_for(tmp_path: Path) -> None:
    work = workspace(tmp_path / "a", delay=0.05, manner="rude")
    process = started(work, "--grace", "1000")
    process.send_signal(signal.SIGINT)
    assert "stage.stopping" not in [event["type"] for event in ended(process, work)]


class TestSigtermOfAWorker:
    def test_ends_a_unit_that_does_not_look_and_it_is_tried_again(self, tmp_path: Path) -> None:
        work = Workspace(tmp_path)
        work.spec(f"one: {{uses: 'tests.support.polite_stages:Drained', with: {{flag: {tmp_path / 'flag'}}}}}")
        ran = work.run()
        assert ran.status == "ok"
        (retry,) = ran.of("stage.retry")
        assert str(retry.data["error"]).startswith("Terminated: ")

    @pytest.mark.ci
    def test_lets_a_training_on_ray_save_before_it_is_tried_again(self, tmp_path: Path) -> None:
        work = workspace(tmp_path, steps=20, sigterm_at=7)
        ran = work.run(executor=ExecutorChoice("ray", cpus=1))
        assert ran.status == "ok", ran.of("stage.failed")
        assert [e.data["error"] for e in ran.of("stage.retry")] == ["Interrupted: saved after step 7"]
        assert finished_steps(work) == list(range(1, 21))
