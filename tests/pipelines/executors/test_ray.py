"""The same plan on real Ray: embedded, and on a cluster of two nodes that gets its code from the driver."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.run import ExecutorChoice
from tests.support.cli import Sharpline, events
from tests.support.workspace import Workspace

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
    assert {e["stage"] for e in told if e["type"] == "stage.committed"} == {"source", "upper", "joined", "mortal"}
    retries = [(e["stage"], e["left"]) for e in told if e["type"] == "stage.retry"]
    assert sorted(retries) == [("cursed", 0), ("mortal", 1)]
    failed = {e["stage"]: e["error"] for e in told if e["type"] == "stage.failed"}
    assert failed["cursed"]["kind"] == "lost"
    assert (failed["broken"]["kind"], failed["broken"]["type"]) == ("user", "ZeroDivisionError")
    assert work.text("joined", "joined.txt") == "ONE\nTWO"


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
