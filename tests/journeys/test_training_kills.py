"""Training that is killed again and again ends where a straight one does: weights, averages, optimiser and metrics."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.graph import build_graph
from pipelines.plan import Planner
from pipelines.spec.load import load_spec
from pipelines.store.attempts import merge_metrics
from pipelines.store.store import open_store
from tests.support.killed_training import MOMENTS, run_killed
from tests.support.photos import copy_photos
from tests.support.states import same
from tests.support.workspace import Workspace

STEPS = 40
SPEC = """
photos:
  uses: ingest.images
  with: {source: ./photos, split: {val: 0.3, test: 0}}
pairs:
  uses: degrade.pairs
  inputs: {images: photos}
  with: {preset: bicubic, hr_size: 32, crops: 3, shards: 1}
teacher:
  uses: train.resshift
  inputs: {pairs: pairs}
  with:
    steps: 40
    network: {widths: [8], blocks: 1, groups: 4}
    process: {timesteps: 4, min_noise: 0.2}
    training: {batch_size: 2, learning_rate: 1.0e-2, ema: 0.9, clip: 1.0}
    log_every: 1
    checkpoint_every: 3
    validate_every: 10
    keep_best: 1
    picture_every: 0
"""


def trained(folder: Path) -> Workspace:
    copy_photos(folder / "photos")
    work = Workspace(folder)
    work.spec(SPEC)
    work.file.write_text(work.file.read_text().replace("name: test", "name: test\nstore: ./store"))
    return work


def state(folder: Path) -> dict[str, Any]:
    """The trainer state after the last step."""
    store = open_store(folder / "store")
    (lineage,) = [path.name for path in (folder / "store" / "work").iterdir() if len(path.name) == 64]
    found = store.checkpoints(lineage).restore(STEPS, folder / "restored")
    assert found is not None
    assert found[0].step == STEPS
    loaded: dict[str, Any] = torch.load(found[1] / "state.pt", weights_only=True)
    return loaded


def metrics(folder: Path, key: str) -> list[dict[str, Any]]:
    """One row a step, as reports show them."""
    store = open_store(folder / "store")
    rows = [{**row, "attempt": n} for n in store.attempts(key) for row in store.attempt(key, n).read("metrics")]
    return merge_metrics(rows)


def finished(work: Workspace) -> tuple[str, Any]:
    """(key, outputs) of the finished teacher."""
    spec = load_spec(work.file, [])
    found = Planner(spec, build_graph(spec), open_store(work.folder / "store")).plan().stages["teacher"]
    assert found.state == "cached"
    assert found.identity is not None
    return found.identity.key, found.outputs


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_forty_steps_through_five_kills_are_forty_steps(tmp_path: Path) -> None:
    straight, killed = trained(tmp_path / "straight"), trained(tmp_path / "killed")
    assert run_killed(straight.file, "", 0) == 0
    draw = random.Random(2026)
    for number, moment in enumerate(draw.sample(MOMENTS, 5)):
        assert run_killed(killed.file, moment, draw.randrange(6 * number + 1, 6 * number + 7)) == -9, moment
    assert run_killed(killed.file, "", 0) == 0

    assert same(state(tmp_path / "killed"), state(tmp_path / "straight"))
    plans = [finished(work) for work in (straight, killed)]
    assert plans[0] == plans[1]
    seen = [metrics(work.folder, plan[0]) for work, plan in zip((straight, killed), plans, strict=True)]
    assert [row["step"] for row in seen[1]] == list(range(1, STEPS + 1))
    for name in ("loss", "gradient_norm", "learning_rate", "validation/psnr", "validation/loss"):
        assert [row.get(name) for row in seen[0]] == [row.get(name) for row in seen[1]], name
    assert len(open_store(tmp_path / "killed" / "store").attempts(plans[1][0])) >= 5
