"""The same plan on real Ray: embedded, and on a cluster of two nodes that gets its code from the driver."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pipelines.executors.ray import _run_gang
from pipelines.executors.task import Outcome
from pipelines.run import ExecutorChoice
from tests.support.cli import Sharpline, events
from tests.support.workspace import Ran, Workspace

SPEC = """
    source: {{uses: "toy:Texts", with: {{source: ./texts}}}}
    upper: {{uses: "toy:Upper", inputs: {{texts: source}}, resources: {{workers: 2}}}}
    joined: {{uses: "toy:Join", inputs: {{texts: upper}}}}
    mortal: {{uses: "toy:Mortal", with: {{deaths: 1, counter: "{counter}"}}}}
    cursed: {{uses: "toy:Mortal", with: {{deaths: 9, counter: "{curse}"}}, retries: 1}}
    broken: {{uses: "toy:Fail", with: {{how: bug, message: boom}}}}
"""


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.texts(a="one", b="two")
    for name in ("counter", "curse"):
        (tmp_path / name).mkdir()
    workspace.spec(SPEC.format(counter=tmp_path / "counter", curse=tmp_path / "curse"))
    return workspace


def test_embedded_ray_retries_lost_workers_and_nothing_else_and_no_folder_of_the_user_shadows_ours(
    work: Workspace,
) -> None:
    for name in ("stages", "pipelines", "degrade"):  # what a user's own project may well hold
        (work.folder / name).mkdir()
        (work.folder / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    done = Sharpline(cwd=work.folder)("run", "spec.yaml", "--keep-going", "--json")
    told = events(done.out)
    assert done.code == 1, done.err
    failed = {e["stage"]: e["error"] for e in told if e["type"] == "stage.failed"}
    assert {name: error["kind"] for name, error in failed.items()} == {"cursed": "lost", "broken": "user"}, failed
    assert failed["broken"]["type"] == "ZeroDivisionError"
    assert {e["stage"] for e in told if e["type"] == "stage.committed"} == {"source", "upper", "joined", "mortal"}
    retries = [(e["stage"], e["left"]) for e in told if e["type"] == "stage.retry"]
    assert sorted(retries) == [("cursed", 0), ("mortal", 1)]
    assert work.text("joined", "joined.txt") == "ONE\nTWO"


@pytest.mark.ci
def test_a_ray_that_dies_ends_the_run_with_its_own_exit_code_and_keeps_what_was_finished(work: Workspace) -> None:
    work.spec("many: {uses: 'tests.support.hostile_stages:Parts', with: {n: 100, seconds: 0.5}}")
    process = Sharpline(cwd=work.folder).start("run", "spec.yaml", "--json")
    assert process.stdout is not None
    while "partition.done" not in process.stdout.readline():
        pass
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "raylet":
                os.kill(int(child), signal.SIGKILL)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 5, err
    assert "Traceback" not in out + err
    assert events(out)[-1]["status"] == "failed"
    stage = work.plan().stages["many"]
    assert stage.state == "resume"
    assert stage.log.holder is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes on this machine; started again once, because a loaded machine can exceed Ray's own limits."""
    from ray.cluster_utils import Cluster

    for attempt in (1, 2):
        try:
            made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
            made.add_node(num_cpus=1)
            break
        except Exception:
            if attempt == 2:
                raise
    yield made.address
    made.shutdown()


def test_a_cluster_runs_the_drivers_own_code_and_gives_the_same_bytes(
    work: Workspace, cluster: str, tmp_path: Path
) -> None:
    work.spec(SPEC.split("    mortal")[0].format())
    on_cluster = work.run(executor=ExecutorChoice("ray", address=cluster))
    assert on_cluster.status == "ok", on_cluster.of("stage.failed")
    here = Workspace(tmp_path / "here")
    here.folder.mkdir()
    here.texts(a="one", b="two")
    here.spec(SPEC.split("    mortal")[0].format())
    assert here.run().status == "ok"
    outputs = [{n: s.outputs for n, s in w.plan().stages.items()} for w in (work, here)]
    assert outputs[0] == outputs[1]


class TestGangs:
    GANG = "sum: {{uses: 'tests.support.gang_stages:Gang', with: {config}, resources: {{ranks: 2, cpus: 1}}}}"

    def gang(self, folder: Path, **config: Any) -> Workspace:
        work = Workspace(folder)
        work.spec(self.GANG.format(config=json.dumps(config)))
        return work

    def straight(self, steps: int) -> float:
        value = 1.0
        for step in range(1, steps + 1):
            value = (value * 1.1 + 3.0 * step) % 1000.0
        return value

    def begun(self, work: Workspace) -> list[int]:
        """The steps at which rank 0 began, again and again."""
        stage = work.plan().stages["sum"]
        assert stage.identity is not None
        rows = work.store.attempt(stage.identity.key, 0).read("log")
        said = [str(row["message"]) for row in rows if row["unit"] == "sum (rank 0)"]
        return [int(message.rsplit(" ", 1)[1]) for message in said if message.startswith("begins")]

    def test_without_ray_train_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        for name in [name for name in sys.modules if name.startswith("ray.train")]:
            monkeypatch.delitem(sys.modules, name)
        failure = Outcome.from_text(_run_gang("{}", {})).failure
        assert failure is not None
        assert (failure.kind, failure.retryable) == ("user", False)
        assert "install ray[train], or run with --executor local" in failure.message

    @pytest.mark.ci
    def test_a_rank_that_dies_is_started_again_by_ray_train_from_the_checkpoint(
        self, cluster: str, tmp_path: Path
    ) -> None:
        work = self.gang(tmp_path, steps=6, save_every=2, at=5, how="kill", flag=str(tmp_path / "flag"))
        ran = work.run(executor=ExecutorChoice("ray", address=cluster))
        assert ran.status == "ok", ran.of("stage.failed")
        assert ran.of("stage.retry") == []
        assert json.loads(work.text("sum", "value.json")) == {"value": self.straight(6), "rank": 0}
        assert self.begun(work) == [0, 4]

    @pytest.mark.ci
    def test_an_error_of_the_stage_is_not_retried(self, cluster: str, tmp_path: Path) -> None:
        work = self.gang(tmp_path, how="bug", warn=True)
        ran = work.run(executor=ExecutorChoice("ray", address=cluster))
        (failed,) = ran.of("stage.failed")
        assert (failed.data["error"]["kind"], failed.data["error"]["message"]) == ("user", "rank 1 broke")
        assert [event.data["text"] for event in ran.of("stage.warning")] == ["rank 1 warns"]  # the one that failed
        assert self.begun(work) == [0]

    @pytest.mark.ci
    def test_a_node_that_dies_and_is_replaced_costs_nothing_but_time(self, tmp_path: Path) -> None:
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            node = made.add_node(num_cpus=1)
            work = self.gang(tmp_path, steps=60, save_every=2, delay=0.25)
            ended: list[Ran] = []
            choice = ExecutorChoice("ray", address=made.address)
            running = Thread(target=lambda: ended.append(work.run(executor=choice)))
            running.start()
            checkpoints = tmp_path / ".sharpline" / "work"
            while not list(checkpoints.glob("*/commits/*")):
                assert running.is_alive()
                time.sleep(0.2)
            made.remove_node(node, allow_graceful=False)
            made.add_node(num_cpus=1)
            running.join()
        finally:
            made.shutdown()
        assert ended[0].status == "ok", ended[0].of("stage.failed")
        assert json.loads(work.text("sum", "value.json"))["value"] == self.straight(60)
        # the first beginning is lost with its node when rank 0 was there; the last one is after a checkpoint
        assert self.begun(work)[-1] > 0
