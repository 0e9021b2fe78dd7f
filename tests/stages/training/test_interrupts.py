"""Real signals to real runs of the teacher: no step is lost, none is done twice, and no byte comes out different."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pipelines.run import ExecutorChoice
from tests.support.photos import copy_photos
from tests.support.workspace import Workspace

PAIRS = """
images: {uses: ingest.images, with: {source: ./photos, split: {val: 0, test: 0}}}
pairs:
  uses: degrade.pairs
  inputs: {images: images}
  with: {preset: bicubic, hr_size: 32, crops: 2, shards: 1}
"""
TEACHER = """
teacher:
  uses: "tests.support.interrupted_training:Interrupting"
  inputs: {{pairs: pairs}}
  with: {config}
  resources: {{ranks: {ranks}, cpus: 1}}
"""
STEPS = 40
TINY = {
    "steps": STEPS,
    "network": {"widths": [8], "blocks": 1, "groups": 4},
    "process": {"timesteps": 4, "min_noise": 0.2},
    "training": {"batch_size": 3, "learning_rate": 1e-2, "ema": 0.5},
    "checkpoint_every": 1000,
}


class Teacher(Workspace):
    """A tiny teacher on `ranks` ranks. `set` says anew how it is to be interrupted, which is no part of its key."""

    def __init__(self, pairs: Path, folder: Path, ranks: int = 1, **interruption: Any) -> None:
        shutil.copytree(pairs, folder)
        super().__init__(folder)
        self.ranks = ranks
        self.set(**interruption)

    def set(self, **interruption: Any) -> None:
        config = {**TINY, "trace": str(self.folder / "trace"), **interruption}
        self.spec(PAIRS + TEACHER.format(config=json.dumps(config), ranks=self.ranks))

    @property
    def steps(self) -> list[int]:
        """Every finished step, in the order of their doing."""
        return [int(line) for line in (self.folder / "trace").read_text().splitlines()]

    @property
    def saved(self) -> list[int]:
        """Steps of the checkpoints that are kept."""
        (lineage,) = [path.name for path in (self.folder / ".sharpline" / "work").iterdir()]
        found = self.store.checkpoints(lineage).restore(STEPS, self.folder / f"restored-{len(self.steps)}")
        return [found[0].step] if found else []

    @property
    def outputs(self) -> dict[str, str]:
        return dict(self.plan().stages["teacher"].outputs or {})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store has the pairs."""
    work = Workspace(tmp_path_factory.mktemp("data") / "pairs")
    work.folder.mkdir()
    copy_photos(work.folder / "photos", "chelsea.png", "rocket.jpg")
    work.spec(PAIRS)
    assert work.run().status == "ok"
    return work.folder


def interrupted_and_gone_on(work: Teacher, executor: ExecutorChoice) -> None:
    """Run until the interrupt that `work` is set to, see what it has left, and run on to the end."""
    ran = work.run(executor=executor)
    assert ran.status == "interrupted", ran.of("stage.failed")
    last = work.steps[-1]
    assert last < STEPS
    assert work.saved == [last]
    because = f"interrupted: saved after step {last} of {STEPS}"
    assert [event.data["because"] for event in ran.of("stage.skipped")] == [because]
    assert ran.of("stage.retry") == []
    work.set()
    assert work.run(executor=executor).status == "ok"
    assert work.steps == list(range(1, STEPS + 1))


def test_an_interrupted_training_loses_no_step_and_changes_no_byte(pairs: Path, tmp_path: Path) -> None:
    straight = Teacher(pairs, tmp_path / "straight")
    assert straight.run().status == "ok"
    work = Teacher(pairs, tmp_path / "work", at=5, pid=os.getpid(), pause=0.2)
    interrupted_and_gone_on(work, ExecutorChoice("local"))
    assert work.outputs == straight.outputs


@pytest.mark.ci
def test_so_on_ray_where_sigterm_of_the_driver_is_an_interrupt_too(pairs: Path, tmp_path: Path) -> None:
    straight = Teacher(pairs, tmp_path / "straight")
    assert straight.run().status == "ok"
    work = Teacher(pairs, tmp_path / "work", at=5, pid=os.getpid(), number=int(signal.SIGTERM), pause=0.2)
    interrupted_and_gone_on(work, ExecutorChoice("ray", cpus=1))
    assert work.outputs == straight.outputs


@pytest.mark.ci
class TestAGang:
    @pytest.mark.timeout(900)  # Ray and Ray Train start twice: a minute, and five on a machine that is busy
    @pytest.mark.parametrize("executor", [ExecutorChoice("local"), ExecutorChoice("ray", cpus=2)], ids=["local", "ray"])
    def test_stops_after_one_step(self, pairs: Path, tmp_path: Path, executor: ExecutorChoice) -> None:
        work = Teacher(pairs, tmp_path / "work", ranks=2, at=5, sender=1, pid=os.getpid(), pause=0.2)
        interrupted_and_gone_on(work, executor)
        straight = Teacher(pairs, tmp_path / "straight", ranks=2)
        assert straight.run().status == "ok"
        assert work.outputs == straight.outputs

    def test_saves_when_one_of_its_ranks_gets_sigterm_and_goes_on_by_itself(self, pairs: Path, tmp_path: Path) -> None:
        work = Teacher(pairs, tmp_path / "work", ranks=2, at=5, sender=1, number=int(signal.SIGTERM))
        ran = work.run()
        assert ran.status == "ok", ran.of("stage.failed")
        (retry,) = ran.of("stage.retry")
        assert str(retry.data["error"]).startswith("Interrupted: saved after step ")
        assert work.steps == list(range(1, STEPS + 1))
