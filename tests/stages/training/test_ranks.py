"""Ranks that are processes: what they exchange, and a teacher that two of them train."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.stage import PeerLost
from pipelines.store.attempts import merge_metrics
from stages.training.distributed import ranks_of
from stages.training.ranks import SOLO
from tests.support.cli import Sharpline
from tests.support.photos import copy_photos
from tests.support.training import context, settings
from tests.support.workspace import Workspace

SPEC = """
images: {{uses: ingest.images, with: {{source: ./photos, split: {{val: 0, test: 0}}}}}}
pairs:
  uses: degrade.pairs
  inputs: {{images: images}}
  with: {{preset: bicubic, hr_size: 32, crops: 2, shards: 1}}
teacher:
  uses: "tests.support.gang_training:Mortal"
  inputs: {{pairs: pairs}}
  with: {config}
  resources: {{ranks: {ranks}, cpus: 1}}
  retries: 9
"""
TINY = {
    "steps": 8,
    "network": {"widths": [8], "blocks": 1, "groups": 4},
    "process": {"timesteps": 4, "min_noise": 0.2},
    "training": {"batch_size": 3, "learning_rate": 1e-2, "ema": 0.5},
    "checkpoint_every": 3,
    "log_every": 1,
}


def joined(rank: int, folder: str, results: Any) -> None:
    """Everything that ranks exchange, as rank `rank` of 2 sees it; then rank 1 leaves and rank 0 asks for it."""
    ctx = context(Path(folder) / str(rank), settings())
    ctx.rank, ctx.world_size, ctx.rendezvous = rank, 2, f"file://{folder}/meet"
    seen: dict[str, Any] = {}
    with ranks_of(ctx) as ranks:
        weights = [nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (1,))]
        weights[0].grad = torch.full((3, 2), rank + 1.0).T  # not contiguous
        weights[1].grad = torch.arange(4.0) * (10 if rank else 1)
        ranks.sum_gradients(weights)
        seen["gradients"] = [w.grad.tolist() if w.grad is not None else None for w in weights]
        seen["values"] = ranks.sum_values({"loss": 0.1 + rank, "bad": float("nan") if rank else 0.0, "big": 2.0**53})
        told = [torch.full((2, 2), float(rank)), torch.tensor(5 + rank), nn.Parameter(torch.ones(3) * rank)]
        ranks.broadcast(told)
        seen["broadcast"] = [tensor.tolist() for tensor in told]
        seen["texts"] = ranks.gather_text("a" * (rank + 1))
        ranks.barrier()
        if rank == 0:
            with pytest.raises(PeerLost, match="sum_values: the other ranks do not answer"):
                ranks.sum_values({"loss": 1.0})
    results.put((rank, json.dumps(seen)))


def test_what_ranks_exchange_is_the_same_on_all_and_a_rank_that_left_is_missed(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["stages.training.distributed", "tests.support.training"])
    results = processes.Queue()
    ranks = [processes.Process(target=joined, args=(rank, str(tmp_path), results)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    seen = dict(results.get(timeout=60) for _ in ranks)
    for rank in ranks:
        rank.join()
    assert seen[0] == seen[1]
    found = json.loads(seen[0])
    assert found["gradients"] == [[[3.0] * 3] * 2, [0.0, 11.0, 22.0, 33.0], None]
    assert (found["values"]["loss"], found["values"]["big"]) == (0.1 + 1.1, 2.0**54)
    assert found["values"]["bad"] != found["values"]["bad"]
    assert found["broadcast"] == [[[0.0, 0.0], [0.0, 0.0]], 5, [0.0, 0.0, 0.0]]
    assert found["texts"] == ["a", "aa"]


def test_one_rank_starts_nothing(tmp_path: Path) -> None:
    with ranks_of(context(tmp_path, settings())) as ranks:
        assert ranks is SOLO
        assert not torch.distributed.is_initialized()


class TestATeacherOfTwoRanks:
    def prepared(self, folder: Path, ranks: int, **changed: Any) -> Workspace:
        folder.mkdir()
        work = Workspace(folder)
        copy_photos(folder / "photos", "chelsea.png", "rocket.jpg")
        work.spec(SPEC.format(config=json.dumps({**TINY, **changed}), ranks=ranks))
        return work

    def trained(self, folder: Path, ranks: int, **changed: Any) -> tuple[dict[str, str], list[float]]:
        """Digests of the outputs, and the loss of every step."""
        work = self.prepared(folder, ranks, **changed)
        ran = work.run()
        assert ran.status == "ok", ran.of("stage.failed")
        assert len(ran.of("stage.retry")) == (1 if changed else 0)
        stage = work.plan().stages["teacher"]
        assert stage.identity is not None
        rows = work.store.attempt(stage.identity.key, 0).read("metrics")
        return dict(stage.outputs or {}), [float(row["loss"]) for row in rows]

    def test_a_killed_rank_changes_no_byte_and_the_number_of_ranks_only_how_sums_are_rounded(
        self, tmp_path: Path
    ) -> None:
        alone, curve = self.trained(tmp_path / "one", 1)
        straight, losses = self.trained(tmp_path / "two", 2)
        killed, _ = self.trained(tmp_path / "killed", 2, flag=str(tmp_path / "flag"))
        assert killed == straight
        assert len(curve) == len(losses) == 8
        assert losses == pytest.approx(curve, rel=1e-4)
        assert alone != straight or losses == curve

    @pytest.mark.ci
    @pytest.mark.timeout(600)
    def test_forty_steps_through_five_kills_of_ranks_and_drivers_are_forty_steps(self, tmp_path: Path) -> None:
        straight = self.prepared(tmp_path / "straight", 2, steps=40)
        killed = self.prepared(tmp_path / "killed", 2, steps=40, pause=0.15, pids=str(tmp_path))
        assert straight.run().status == "ok"
        draw = random.Random(2026)
        process = None
        for victim in draw.sample(["driver", "driver", "rank 0", "rank 1", "rank 1"], 5):
            if process is None:
                process = Sharpline(cwd=killed.folder).start("run", "spec.yaml", "--executor", "local", "--quiet")
            before = checkpoints(killed)
            while checkpoints(killed) == before:
                assert process.poll() is None, f"it ended before {victim} was killed"
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.2))
            if victim == "driver":
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                process = None
            else:
                os.kill(int((tmp_path / victim[-1]).read_text()), signal.SIGKILL)
        if process is not None:
            _, said = process.communicate(timeout=100)
            assert process.returncode == 0, said
        assert killed.run().status == "ok"
        states = [last_state(work) for work in (straight, killed)]
        assert states[0].keys() == states[1].keys()
        assert states[0]["step"] == 40
        for part in ("networks", "averages", "optimisers"):
            torch.testing.assert_close(states[1][part], states[0][part], rtol=0, atol=0)
        outputs = [work.plan().stages["teacher"].outputs for work in (straight, killed)]
        assert outputs[0] == outputs[1]
        lines = [observed(work) for work in (straight, killed)]
        assert [line["step"] for line in lines[1]] == list(range(1, 41)), "a gap, or a step twice"
        for name in ("loss", "gradient_norm", "learning_rate"):
            assert [line[name] for line in lines[1]] == [line[name] for line in lines[0]], name


def observed(work: Workspace) -> list[dict[str, Any]]:
    """The lines of metrics of all attempts, as reports show them."""
    identity = work.plan().stages["teacher"].identity
    assert identity is not None
    attempts = work.store.attempts(identity.key)
    rows = [{**row, "attempt": n} for n in attempts for row in work.store.attempt(identity.key, n).read("metrics")]
    return merge_metrics(rows)


def checkpoints(work: Workspace) -> list[str]:
    return sorted(path.name for path in (work.folder / ".sharpline" / "work").glob("*/commits/*"))


def last_state(work: Workspace) -> dict[str, Any]:
    """The trainer state after the last step."""
    (lineage,) = [path.name for path in (work.folder / ".sharpline" / "work").iterdir()]
    found = work.store.checkpoints(lineage).restore(40, work.folder / "restored")
    assert found is not None
    state: dict[str, Any] = torch.load(found[1] / "state.pt", weights_only=True)
    return state
