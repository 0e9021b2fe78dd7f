"""Losses of the decoded answer (ResShift v3: 1 x MSE of latents + 1 x LPIPS): formula, gradient, weights, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from pipelines.stage import Output, StageError
from stages.diffusion.noise import Noise
from stages.losses.combined import CombinedLoss
from stages.losses.lpips_weights import load_lpips
from stages.methods.latents import decoded
from stages.methods.resshift import ResShiftConfig, ResShiftMethod, TrainResShift
from stages.models.resshift import ResShiftModel
from stages.models.weights import write_weights
from stages.training.method import Batch
from tests.stages.losses.test_lpips import files
from tests.support.autoencoders import autoencoder_artifact, tiny_vq
from tests.support.harness import FolderArtifact, FolderWriter, run_stage
from tests.support.textures import texture_pairs

V3 = [{"kind": "lpips", "weight": 1, "trunk": "alex"}, {"kind": "l1", "weight": 0.5}]
TINY: dict[str, Any] = {
    "steps": 2,
    "autoencoder": "artifact",
    "network": {"widths": [8], "blocks": 1, "groups": 4},
    "process": {"timesteps": 4, "min_noise": 0.2},
    "training": {"batch_size": 2, "learning_rate": 1e-3},
    "log_every": 1,
}


@pytest.fixture(scope="module")
def lpips_weights() -> dict[str, torch.Tensor]:
    convolutions, heads = files("alex")
    return convolutions | heads


def method(config: ResShiftConfig, weights: dict[str, torch.Tensor]) -> ResShiftMethod:
    vq = tiny_vq()
    dump = config.model_dump(mode="json", include={"residual", "network", "process"})
    torch.manual_seed(0)
    model = ResShiftModel(scale=4, autoencoder=vq, **dump)
    losses = None
    if config.losses is not None:
        losses = CombinedLoss(config.losses, value_range=(-1, 1), lpips=weights)
    return ResShiftMethod(model, config, losses)


def batch() -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64), (0, 1), ("a", "b"), Noise(0))


def test_the_sum_is_that_of_latents_and_of_the_decoded_clamped_answer(lpips_weights):
    plain = method(ResShiftConfig(**TINY), lpips_weights).losses(batch())
    made = method(ResShiftConfig(**TINY, losses=V3), lpips_weights)
    seen = made.losses(batch())
    assert list(plain) == ["loss"]
    assert set(seen) == {"loss", "latent", "lpips", "l1"}
    assert torch.equal(seen["latent"], plain["loss"])
    zy = made.model.encode_lr(batch().lr)  # a new network answers z_y
    image = tiny_vq().decode(zy).clamp(-1, 1)
    hr = 2 * batch().hr - 1
    assert seen["lpips"].item() == pytest.approx(load_lpips("alex", lpips_weights)(image, hr).mean().item(), rel=1e-4)
    assert seen["l1"].item() == pytest.approx((image - hr).abs().mean().item() / 2, rel=1e-4)
    expected = seen["latent"] + seen["lpips"] + 0.5 * seen["l1"]
    assert seen["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_gradient_goes_through_the_decoder_and_past_its_quantiser_and_trains_neither():
    model = method(ResShiftConfig(**TINY), {}).model
    vq = model.autoencoder
    latent = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    decoded(latent, model).square().sum().backward()
    codes = vq.codebook(vq.nearest(latent)).permute(0, 3, 1, 2).detach().requires_grad_()
    vq.decode(codes, quantise=False).clamp(-1, 1).square().sum().backward()
    torch.testing.assert_close(latent.grad, codes.grad, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(latent, codes, atol=0.1)
    assert latent.grad.abs().max() > 0
    assert all(weight.grad is None for weight in vq.parameters())


def test_what_is_compared_is_clamped():
    pixels = ResShiftModel(
        scale=4, autoencoder="identity", residual=True, network={**TINY["network"], "attention": False},
        process=TINY["process"],
    )  # fmt: skip
    values = torch.tensor([-3.0, -1.0, 0.5, 1.0, 2.0]).expand(1, 3, 1, 5)
    assert decoded(values, pixels)[0, 0, 0].tolist() == [-1, -1, 0.5, 1, 1]


def test_an_image_loss_alone_moves_the_network(lpips_weights):
    made = method(ResShiftConfig(**TINY, losses=V3), lpips_weights)
    seen = made.losses(batch())
    (seen["lpips"] + seen["l1"]).backward()
    last = [p.grad for p in made.model.denoiser.parameters() if p.grad is not None]
    assert max(float(grad.abs().max()) for grad in last) > 0


def perceptual(folder, weights: dict[str, torch.Tensor]) -> FolderArtifact:
    writer = FolderWriter(folder, Output("model", "", {"role": "lpips"}))
    write_weights(writer.path("weights.safetensors"), weights)
    return FolderArtifact("lpips", folder, writer.manifest())


def test_the_stage_takes_the_weights_of_lpips_from_its_input(tmp_path, lpips_weights):
    pairs = texture_pairs(tmp_path / "pairs", train=2, val=1, hr_size=64)
    vq = autoencoder_artifact(tmp_path / "vq", tiny_vq())
    inputs = {"pairs": pairs, "autoencoder": vq, "perceptual": perceptual(tmp_path / "lpips", lpips_weights)}
    run = run_stage(TrainResShift, tmp_path / "a", {**TINY, "losses": V3}, inputs)
    observed = run.context.recorded[0][1]
    assert {"latent", "lpips", "l1", "loss"} <= set(observed)
    other = {**TINY, "losses": [{"kind": "lpips", "trunk": "vgg"}]}
    with pytest.raises(StageError, match="vgg"):
        run_stage(TrainResShift, tmp_path / "b", other, inputs)


def test_how_the_frozen_autoencoder_computes_is_for_accelerators():
    with pytest.raises(ValidationError, match="autoencoder_precision is for device: cuda"):
        ResShiftConfig(**TINY, autoencoder_precision="bf16")
    assert ResShiftConfig(**TINY, device="cuda", autoencoder_precision="bf16").autoencoder_precision == "bf16"
