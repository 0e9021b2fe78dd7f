"""From photographs to a latent space, a teacher in it and its scores; the autoencoder's training killed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.graph import build_graph
from pipelines.plan import Plan, Planner
from pipelines.spec.load import load_spec
from pipelines.store.attempts import merge_metrics
from pipelines.store.store import open_store
from stages.methods.autoencoder_config import AutoencoderConfig
from tests.support.killed_training import run_killed
from tests.support.photos import copy_photos
from tests.support.workspace import Workspace

SPEC = """
photos:
  uses: ingest.images
  with: {source: ./photos, split: {val: 0.3, test: 0}}
pairs:
  uses: degrade.pairs
  inputs: {images: photos}
  with: {preset: bicubic, hr_size: 32, crops: 3, online: true}
space:
  uses: train.autoencoder
  inputs: {pairs: pairs}
  with:
    steps: 12
    network: {kind: vq, width: 8, multipliers: [1, 2, 2], blocks: 1, groups: 4, codes: 64}
    losses: [{kind: l1, weight: 2}, {kind: ssim, weight: 0.2}, {kind: gradient, weight: 0.2}]
    discriminator: {start: 5, width: 8, layers: 2, learning_rate: 1.0e-3}
    training: {batch_size: 2, learning_rate: 3.0e-3, ema: 0.9}
    log_every: 1
    checkpoint_every: 3
    validate_every: 6
    picture_every: 12
teacher:
  uses: train.resshift
  inputs: {pairs: pairs, autoencoder: space}
  with:
    steps: 2
    autoencoder: artifact
    network: {widths: [8], blocks: 1, groups: 4}
    process: {timesteps: 2, min_noise: 0.2}
    training: {batch_size: 2}
    picture_every: 0
    validate_every: 0
scores:
  uses: evaluate
  inputs: {pairs: pairs, models: [teacher]}
  with: {steps: [1], max_images: 2}
"""


def prepared(folder: Path) -> Workspace:
    copy_photos(folder / "photos")
    work = Workspace(folder)
    work.spec(SPEC)
    work.file.write_text(work.file.read_text().replace("name: test", "name: test\nstore: ./store"))
    return work


def planned(work: Workspace) -> Plan:
    spec = load_spec(work.file, [])
    return Planner(spec, build_graph(spec), open_store(work.folder / "store")).plan()


def metrics(work: Workspace, key: str) -> list[dict[str, Any]]:
    store = open_store(work.folder / "store")
    rows = [{**row, "attempt": n} for n in store.attempts(key) for row in store.attempt(key, n).read("metrics")]
    return merge_metrics(rows)


def test_the_example_spec_trains_vq_f4_as_its_stage_does_by_default() -> None:
    spec = load_spec(Path(__file__).parents[2] / "specs" / "autoencoder.yaml", [])
    assert build_graph(spec)
    space = spec.stages["space"].config
    defaults = AutoencoderConfig(steps=1)
    assert isinstance(space, AutoencoderConfig)
    assert space.network == defaults.network
    assert space.discriminator == defaults.discriminator
    assert (space.training.learning_rate, space.training.batch_size) == (3.6e-5, 8)


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_a_latent_space_that_was_killed_three_times_is_the_same_one_and_a_teacher_works_in_it(tmp_path: Path) -> None:
    straight, killed = prepared(tmp_path / "straight"), prepared(tmp_path / "killed")
    assert run_killed(straight.file, "", 0) == 0
    for moment, step in (("weights", 3), ("half a file", 6), ("record", 9)):
        assert run_killed(killed.file, moment, step) == -9, moment
    assert run_killed(killed.file, "", 0) == 0

    plans = [planned(work).stages for work in (straight, killed)]
    assert {stage.state for stages in plans for stage in stages.values()} == {"cached"}
    assert plans[0]["space"].outputs == plans[1]["space"].outputs
    assert plans[0]["teacher"].outputs == plans[1]["teacher"].outputs
    identity = plans[1]["space"].identity
    assert identity is not None
    rows = metrics(killed, identity.key)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert ["discriminator/loss" in row for row in rows] == [False] * 5 + [True] * 7
    assert {"validation/psnr", "latent/std", "latent/codes_used"} <= set(rows[-1])
