"""A stage that runs as several processes: what counts of each, and that losing one costs nothing but time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.ledger import Ledger, needs_of
from pipelines.run import ExecutorChoice
from pipelines.spec.load import load_spec
from pipelines.spec.problems import SpecErrors
from pipelines.stage import Resources
from tests.support.cli import Sharpline
from tests.support.workspace import Workspace

GANG = "tests.support.gang_stages:Gang"


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def spec(work: Workspace, ranks: int = 2, resources: str = "", **config: Any) -> None:
    section = json.dumps(config)
    work.spec(f"sum: {{uses: '{GANG}', with: {section}, resources: {{ranks: {ranks}, cpus: 1{resources}}}}}")


def value_of(work: Workspace) -> dict[str, float]:
    value: dict[str, float] = json.loads(work.text("sum", "value.json"))
    return value


def straight(ranks: int, steps: int = 6) -> float:
    value = 1.0
    for step in range(1, steps + 1):
        value = (value * 1.1 + float(sum((rank + 1) * step for rank in range(ranks)))) % 1000.0
    return value


def attempt(work: Workspace) -> Any:
    stage = work.plan().stages["sum"]
    assert stage.identity is not None
    return work.store.attempt(stage.identity.key, 0)


def processes(work: Workspace) -> list[int]:
    """Those whose environment names this workspace: a started command and all that it started."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(work.folder).encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_ranks_meet_and_rank_0_alone_counts(work: Workspace) -> None:
    spec(work, steps=6, warn=True)
    ran = work.run()
    assert ran.status == "ok", ran.of("stage.failed")
    assert value_of(work) == {"value": straight(2), "rank": 0}
    assert [event.data["text"] for event in ran.of("stage.warning")] == ["rank 0 warns"]
    rows = attempt(work).read("metrics")
    assert [(row["step"], row["rank"]) for row in rows] == [(step, 0.0) for step in range(1, 7)]
    units = {row["unit"] for row in attempt(work).read("log")}
    assert units == {"sum (rank 0)", "sum (rank 1)"}


@pytest.mark.parametrize("how", ["kill", pytest.param("exit", marks=pytest.mark.ci)])
def test_a_rank_that_dies_restarts_all_from_the_checkpoint_and_changes_nothing(work: Workspace, how: str) -> None:
    spec(work, steps=6, save_every=2, at=5, how=how, flag=str(work.folder / "flag"))
    ran = work.run()
    assert ran.status == "ok", ran.of("stage.failed")
    retries = [str(event.data["error"]) for event in ran.of("stage.retry")]
    assert len(retries) == 1
    assert "rank 1 of 2 died (" + {"kill": "signal 9", "exit": "exit code 3"}[how] in retries[0]
    said = [(row["unit"], row["message"]) for row in attempt(work).read("log")]
    begun = [step for unit, step in said if unit == "sum (rank 0)" and step.startswith("begins")]
    assert begun == ["begins at step 0", "begins at step 4"]
    assert value_of(work)["value"] == straight(2)


@pytest.mark.ci
def test_a_gang_that_dies_every_time_fails_after_its_retries(work: Workspace) -> None:
    spec(work, how="kill", at=1)
    ran = work.run()
    (failed,) = ran.of("stage.failed")
    assert (failed.data["error"]["kind"], failed.data["error"]["type"]) == ("lost", "WorkerDied")
    assert [event.data["left"] for event in ran.of("stage.retry")] == [1, 0]


@pytest.mark.parametrize(
    ("how", "message"),
    [("bug", "rank 1 broke"), pytest.param("data", "rank 1 found bad data", marks=pytest.mark.ci)],
)
def test_an_error_of_the_stage_is_told_as_it_is_and_never_retried(work: Workspace, how: str, message: str) -> None:
    """Not as the broken connection that the other rank sees."""
    spec(work, how=how)
    ran = work.run()
    (failed,) = ran.of("stage.failed")
    assert (failed.data["error"]["kind"], failed.data["error"]["message"]) == ("user", message)
    assert ran.of("stage.retry") == []


def test_a_driver_that_dies_takes_its_ranks_along_and_the_same_command_goes_on(work: Workspace) -> None:
    spec(work, steps=30, delay=0.1)
    process = Sharpline(cwd=work.folder, env={"WORKSPACE": str(work.folder)}).start(
        "run", "spec.yaml", "--executor", "local", "--json"
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (work.folder / ".sharpline" / "work").exists():
        time.sleep(0.1)
    time.sleep(0.5)
    assert len(processes(work)) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and processes(work):
        time.sleep(0.1)
    assert processes(work) == []
    assert work.states()["sum"] == "resume"
    ran = work.run("stages.sum.with.delay=0.0")
    assert ran.status == "ok", ran.of("stage.failed")
    assert [event.data["how"] for event in ran.of("stage.committed")] == ["resumed"]
    assert value_of(work)["value"] == straight(2, 30)


def test_the_processes_of_partitions_end_with_their_driver_too(work: Workspace) -> None:
    work.spec("many: {uses: 'tests.support.hostile_stages:Parts', with: {n: 50, seconds: 0.5}}")
    process = Sharpline(cwd=work.folder, env={"WORKSPACE": str(work.folder)}).start(
        "run", "spec.yaml", "--executor", "local", "--json"
    )
    assert process.stdout is not None
    while "partition.done" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and processes(work):
        time.sleep(0.1)
    assert processes(work) == []


class TestAdmission:
    def test_a_gang_is_refused_where_there_is_too_little_for_all_of_it(self, work: Workspace) -> None:
        spec(work, ranks=2)
        ran = work.run(executor=ExecutorChoice("local", cpus=1))
        assert "a gang of 2 ranks needs 2 CPU, and local has 1" in ran.of("stage.failed")[0].data["error"]["message"]
        assert ran.of("stage.started") == []

    def test_it_takes_everything_at_once_or_nothing(self) -> None:
        ledger = Ledger({"CPU": 4.0, "GPU": 2.0})
        gang = needs_of(Resources(ranks=2, cpus=1, gpus=1))
        single = needs_of(Resources(cpus=1, gpus=1))
        assert ledger.take(single)
        assert not ledger.take(gang)
        ledger.give(single)
        assert ledger.take(gang)
        assert not ledger.take(single)
        assert ledger.take(needs_of(Resources(cpus=2)))

    def test_only_a_gang_stage_can_have_ranks(self, work: Workspace) -> None:
        work.spec("one: {uses: 'toy:Noop', resources: {ranks: 2}}")
        with pytest.raises(SpecErrors, match=r"spec.yaml:5.*stages.one.resources.ranks: .*only a gang stage"):
            load_spec(work.file)


class TestKeys:
    def key(self, work: Workspace, ranks: int, **config: Any) -> str:
        spec(work, ranks=ranks, **config)
        identity = work.plan().stages["sum"].identity
        assert identity is not None
        return identity.key

    def test_ranks_are_identity_where_bytes_are_promised_and_nowhere_else(self, work: Workspace) -> None:
        """Two ranks round differently from one, as two threads do; an accelerator promises nothing to begin with."""
        assert len({self.key(work, 1), self.key(work, 2), self.key(work, 3)}) == 3
        assert self.key(work, 1, accelerated=True) == self.key(work, 2, accelerated=True)

    def test_whether_bytes_are_promised_is_asked_with_the_inputs_that_are_connected(self, work: Workspace) -> None:
        fed = GANG.replace("Gang", "Fed")
        first = "first: {uses: 'toy:Noop'}"
        work.spec(first)
        assert work.run().status == "ok"
        work.spec(f"{first}\nsecond: {{uses: '{fed}', inputs: {{fed: first}}, resources: {{ranks: 2, cpus: 1}}}}")
        assert work.why("second")

    def test_one_rank_written_or_not_is_the_same(self, work: Workspace) -> None:
        one = self.key(work, 1)
        work.spec(f"sum: {{uses: '{GANG}', with: {{}}}}")
        identity = work.plan().stages["sum"].identity
        assert identity is not None
        assert identity.key == one

    def test_a_plan_says_so(self, work: Workspace) -> None:
        spec(work, ranks=1)
        assert work.run().status == "ok"
        assert value_of(work)["value"] == straight(1)
        spec(work, ranks=2)
        assert work.why("sum").startswith("resources.ranks: added, 2")
