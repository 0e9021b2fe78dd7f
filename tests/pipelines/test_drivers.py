"""Several drivers on one store, and drivers that are stopped: real processes, real signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.keylog import Holder
from tests.support.cli import Sharpline, events
from tests.support.workspace import Workspace

SLOW = """
    source: {uses: "toy:Texts", with: {source: ./texts}}
    upper:
      uses: toy:Upper
      inputs: {texts: source}
      with: {delay: 0.4}
      resources: {workers: 1}
    joined: {uses: "toy:Join", inputs: {texts: upper}}
"""
RUN = ("run", "spec.yaml", "--executor", "local", "--json")


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.texts(**{name: f"text {name}" for name in "abcdef"})
    workspace.spec(SLOW)
    return workspace


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def partitions_left(work: Workspace) -> float:
    stage = work.plan().stages["upper"]
    return 99 if stage.total is None or stage.done is None else stage.total - stage.done


def outcome(told: list[dict[str, Any]]) -> dict[str, str]:
    return {
        e["stage"]: e["type"].removeprefix("stage.")
        for e in told
        if e["type"] in ("stage.committed", "stage.reused", "stage.failed", "stage.skipped")
    }


def test_two_drivers_build_each_key_once_and_both_end_well(work: Workspace) -> None:
    sharpline = Sharpline(cwd=work.folder)
    both = [sharpline.start(*RUN) for _ in range(2)]
    told = [events(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for stage in ("source", "upper", "joined"):
        assert sorted(outcome(t)[stage] for t in told) == ["committed", "reused"], stage
    built = [e["partition"] for t in told for e in t if e["type"] == "partition.done" and e["stage"] == "upper"]
    assert sorted(built) == ["0", "1", "2", "3", "4", "5"]


def test_a_killed_holder_is_replaced_at_once_by_the_run_that_waits(work: Workspace) -> None:
    sharpline = Sharpline(cwd=work.folder)
    first = sharpline.start(*RUN)
    wait_for(lambda: partitions_left(work) < 6)
    second = sharpline.start(*RUN)
    time.sleep(1.0)
    os.killpg(first.pid, signal.SIGKILL)
    killed = time.monotonic()
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert time.monotonic() - killed < 20
    told = events(out)
    done = [e for e in told if e["type"] == "partition.done" and e["stage"] == "upper"]
    assert 0 < len(done) < 6
    assert first.wait() == -signal.SIGKILL


def test_no_wait_exits_4_and_names_the_holder(work: Workspace) -> None:
    sharpline = Sharpline(cwd=work.folder)
    first = sharpline.start(*RUN)
    wait_for(lambda: partitions_left(work) < 6)
    second = sharpline(*RUN, "--no-wait")
    assert second.code == 4
    assert f"process {first.pid}" in second.err
    first.communicate(timeout=60)
    assert first.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly_and_the_same_command_goes_on(work: Workspace, number: signal.Signals) -> None:
    sharpline = Sharpline(cwd=work.folder)
    process = sharpline.start(*RUN)
    wait_for(lambda: partitions_left(work) < 6)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert events(out)[-2]["status"] == "interrupted"
    key = work.plan().stages["upper"].identity.key
    assert work.store.key_log(key).state().holder is None
    again = sharpline(*RUN)
    assert again.code == 0
    done = [e for e in events(again.out) if e["type"] == "partition.done" and e["stage"] == "upper"]
    assert 0 < len(done) < 6


def test_a_driver_that_lost_its_claim_stops_waits_and_cannot_commit(work: Workspace) -> None:
    process = Sharpline(cwd=work.folder).start(*RUN)
    wait_for(lambda: partitions_left(work) < 6)
    log = work.store.key_log(work.plan().stages["upper"].identity.key)
    thief = log.take_over(log.state(), Holder.current("thief"))
    assert thief is not None
    assert process.stdout is not None
    told: list[dict[str, Any]] = []
    while not any(e["type"] == "stage.waiting" for e in told):
        told += events([process.stdout.readline()])
    assert "run thief" in told[-1]["holder"]
    assert log.state().committed is None
    thief.release()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert outcome(told + events(out))["upper"] == "committed"
    assert log.state().committed is not None
    assert log.state().committed.attempt > thief.attempt
