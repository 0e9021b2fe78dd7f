"""specs/edge_tiny.yaml with few steps: the stages of Edge-SD-SR one after another, and what a change makes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.spec.load import load_spec
from tests.support.cli import ROOT, Sharpline

SPEC = ROOT / "specs" / "edge_tiny.yaml"
TRAINED = ("unet", "joint", "whole")
SHORT = {
    "stages.pairs.with.hr_size": "64", "stages.pairs.with.crops": "2", "stages.pairs.with.shards": "2",
    "stages.unet.with.network.widths": "[16]", "stages.unet.with.network.head_width": "16",
    "stages.joint.with.encoder.widths": "[8]", "stages.whole.with.decoder.width": "8",
    "stages.whole.with.discriminator": "{width: 8, layers: 2, start: 1}",
    "stages.scores.with.max_images": "2", "stages.scores.with.threads": "1",
} | {
    f"stages.{stage}.with.{name}": value
    for stage in TRAINED
    for name, value in (("steps", "3"), ("training.batch_size", "2"), ("threads", "1"), ("validate_every", "2"),
                        ("picture_every", "0"), ("log_every", "1"))
}  # fmt: skip


def sets(**more: str) -> list[str]:
    return [word for name, value in {**SHORT, **more}.items() for word in ("--set", f"{name}={value}")]


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_every_stage_feeds_the_next_and_another_decoder_makes_only_the_decoder_again(tmp_path: Path) -> None:
    sharpline, where = Sharpline(), ["--store", str(tmp_path / "store")]
    done = sharpline("run", SPEC, *where, *sets(), "--executor", "local")
    assert done.code == 0, done.out + done.err
    got = sharpline("get", SPEC, "scores", tmp_path / "scores", *where, *sets())
    assert got.code == 0, got.err
    models = json.loads((tmp_path / "scores" / "metrics.json").read_text())["models"]
    assert sorted(row.get("evaluations", 0) for row in models.values()) == [0, 1, 1, 1]

    page = next((tmp_path / "store" / "runs").glob("*/report.html")).read_text()
    assert "Schedule exponent" in page

    def states(**more: str) -> dict[str, str]:
        plan = sharpline.plan(SPEC, *where, *sets(**more))
        return {name: stage["state"] for name, stage in plan.items() if stage["state"] != "cached"}

    assert states() == {}
    assert states(**{"stages.whole.with.training.learning_rate": "1.0e-4"}) == {"whole": "run", "scores": "pending"}
    changed = states(**{"stages.joint.with.schedule.first": "6"})
    assert changed.keys() == {"joint", "answers", "whole", "scores"}
    assert changed["joint"] == "run"


def test_the_full_spec_has_the_papers_sizes() -> None:
    """128 to 512 pixels; and the networks are the defaults, whose parameters and operations are counted in a test."""
    from stages.models.edge.config import EdgeDecoderConfig, EdgeEncoderConfig, EdgeNetworkConfig

    stages = load_spec(ROOT / "specs" / "edge_sd_sr.yaml", []).stages
    pairs, unet, joint, whole = (stages[name].config for name in ("pairs", *TRAINED))
    assert (pairs.scale, pairs.hr_size) == (4, 512)
    assert unet.network == stages["teacher"].config.network == EdgeNetworkConfig()
    assert (joint.encoder, whole.decoder) == (EdgeEncoderConfig(), EdgeDecoderConfig())
    assert unet.process.inference_k == 0
