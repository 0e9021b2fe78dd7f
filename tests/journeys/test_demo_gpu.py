"""specs/demo_gpu.yaml: valid, as large as it says, refused where there is no GPU, and made small it runs to its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipelines.graph import build_graph
from pipelines.spec.load import load_spec
from stages.models.flops import flops, parameters
from stages.models.resshift import ResShiftModel
from tests.support.cli import ROOT, Sharpline
from tests.support.photos import copy_photos

SPEC = ROOT / "specs" / "demo_gpu.yaml"
SMALL = """
    params.steps=4 stages.photos.with.split={val:0.5,test:0} stages.pairs.with.hr_size=64
    stages.teacher.with.device=cpu stages.teacher.with.compile=false stages.teacher.with.channels_last=false
    stages.teacher.with.tf32=false stages.teacher.with.training.precision=fp32
    stages.teacher.with.training.batch_size=2 stages.teacher.with.training.warmup=1
    stages.teacher.with.network.size=16 stages.teacher.with.network.width=32
    stages.teacher.with.network.multipliers=[1,2] stages.teacher.with.network.swin_width=32
    stages.teacher.with.log_every=1 stages.teacher.with.validate_every=2 stages.teacher.with.validation_pairs=2
    stages.teacher.with.picture_every=2 stages.scores.with.device=cpu stages.scores.with.max_images=2
"""


def test_the_network_has_the_size_on_which_the_estimated_time_rests():
    """In the comments: 23 M parameters, 20.6 GFLOPs forward for one sample, 24 PFLOPs of training in all."""
    config = build_graph(load_spec(SPEC)) and load_spec(SPEC).stages["teacher"].config
    settings = config.model_dump(mode="json", include={"residual", "network", "process"})
    with torch.device("meta"):
        model = ResShiftModel(autoencoder=config.autoencoder, scale=4, **settings)
        inputs = [torch.empty(1, 48, 64, 64), torch.empty(1, 3, 64, 64), torch.empty(1, dtype=torch.int64)]
    forward = flops(model.denoiser, inputs)
    assert round(parameters(model) / 1e6) == 23
    assert forward == pytest.approx(20.6e9, rel=0.01)
    assert 3 * forward * config.steps * config.training.batch_size == pytest.approx(24e15, rel=0.02)


def test_without_a_gpu_it_is_refused_before_anything_is_built(tmp_path: Path):
    photos = copy_photos(tmp_path / "photos", "coffee.png")
    sharpline = Sharpline(env={"CUDA_VISIBLE_DEVICES": ""})
    done = sharpline(
        "run", SPEC, "--store", tmp_path / "store", "--set", f"params.photos={photos}", "--executor", "local"
    )
    assert done.code == 1
    for stage in ("teacher", "scores"):
        assert f"{stage} failed: one unit needs 1 GPU, and local has 0 in all; run it on a machine" in done.out
        assert f"--set stages.{stage}.with.device=cpu" in done.out
    assert ": started" not in done.out
    assert not (tmp_path / "store" / "blobs").exists()


@pytest.mark.ci
def test_made_small_it_runs_to_its_end_on_the_cpu(tmp_path: Path):
    photos = copy_photos(tmp_path / "photos")
    small = [word for setting in SMALL.split() for word in ("--set", setting)]
    where = ["--store", tmp_path / "store", "--set", f"params.photos={photos}"]
    sharpline = Sharpline()
    done = sharpline("run", SPEC, *where, *small, "--executor", "local")
    assert done.code == 0, done.out + done.err
    page = next((tmp_path / "store" / "runs").glob("*/report.html")).read_text()
    for text in ("Bicubic", "teacher, 1 step", "teacher, 4 steps", "Validation PSNR"):
        assert text in page
    said = sharpline("get", SPEC, "scores", tmp_path / "scores", *where, *small)
    assert said.code == 0, said.err
    rows = json.loads((tmp_path / "scores" / "metrics.json").read_text())["models"]
    assert len(rows) == 3
