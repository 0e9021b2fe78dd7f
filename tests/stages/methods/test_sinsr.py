"""distill.sinsr: three losses of one network, and one step at the end."""

from __future__ import annotations

import pytest
import torch

from stages.data.samples import SampleIndex
from stages.diffusion.noise import Noise
from stages.methods.sinsr import DistillSinSR, SinSRConfig, SinSRMethod
from stages.models.registry import load_model, trained_on
from stages.models.resshift import ResShiftModel
from tests.support.distillation import batch, distil, small_teacher, teacher
from tests.support.provenance import having_seen


def method(**changed) -> SinSRMethod:
    return SinSRMethod(teacher(), SinSRConfig(steps=1, **changed))


def test_the_losses_are_those_of_the_paper():
    """Each from the networks themselves: inputs over 2.2182, labels 3 and 0, the chain written out."""
    made, some = method(), batch()
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    z_T = zy + 2 * 0.99 * Noise(7).normal("prior", some.samples, zy.shape[1:])
    std, pixels = (1 + 4 * 0.9801) ** 0.5, 2 * some.lr - 1

    def net(z, label, scale):
        return zy + made.student.denoiser(z / scale, pixels, torch.full((3,), label))

    z = z_T
    for t in (3, 2, 1, 0):  # z0 hat, and the noise that it leaves, carried to the step before
        eta, before = made.process.sqrt_eta[t] ** 2, (made.process.sqrt_eta[t - 1] if t else 0.0) ** 2
        guess = net(z, t, (1 + 4 * eta) ** 0.5)
        noise = (z - guess - eta * (zy - guess)) / eta**0.5
        z = guess + before * (zy - guess) + before**0.5 * noise
    distillation = (net(z_T, 3, std) - z).square().mean()
    inverse = (net(z, 0, std) - z_T).square().mean()
    ground_truth = (net(net(z0, 0, std), 3, std) - z0).square().mean()
    losses = made.losses(some)
    for name, expected in (("distillation", distillation), ("inverse", inverse), ("ground_truth", ground_truth)):
        assert torch.allclose(losses[name], expected, rtol=1e-4), name
    assert torch.allclose(losses["loss"], distillation + inverse + ground_truth, rtol=1e-4)


def test_the_teacher_holds_no_gradient_and_the_inner_inverse_lets_none_through():
    made, some = method(), batch()
    calls = []
    made.backward = lambda *inputs, plain=made.backward: calls.append(torch.is_grad_enabled()) or plain(*inputs)
    made.losses(some)["loss"].backward()
    assert calls == [True, False]
    assert all(p.grad is None for p in made.teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in made.student.parameters())


@pytest.mark.parametrize("off", ["inverse", "ground_truth"])
def test_a_weight_of_zero_leaves_the_loss_out(off):
    losses = method(**{off: 0.0}).losses(batch())
    assert off not in losses
    assert torch.allclose(losses["loss"], sum(value for name, value in losses.items() if name != "loss"))


def test_the_stage_makes_a_one_step_model_and_a_run_in_two_parts_the_same_bytes(tmp_path):
    trained, settings = small_teacher(tmp_path / "data"), {"training": {"batch_size": 2, "warmup": 2, "ema": 0.5}}
    one = distil(DistillSinSR, tmp_path / "a", trained, 4, **settings)
    distil(DistillSinSR, tmp_path / "b", trained, 2, tmp_path / "c", **settings)
    two = distil(DistillSinSR, tmp_path / "d", trained, 4, tmp_path / "c", **settings)
    model = one.artifacts["model"]
    assert model.digest == two.artifacts["model"].digest
    assert (model.facets["family"], model.facets["distilled"]) == ("one-step", "sinsr")
    loaded = load_model(model)
    assert isinstance(loaded, ResShiftModel)
    assert (loaded.evaluations(), loaded.noise_channels) == (1, 0)
    assert loaded.super_resolve(torch.rand(3, 5, 6)).shape == (3, 20, 24)


def test_a_student_has_seen_what_its_teacher_has_seen(tmp_path):
    pairs, trained = small_teacher(tmp_path / "data")
    old = having_seen(tmp_path / "old", trained, ["0" * 64])
    model = distil(DistillSinSR, tmp_path / "a", (pairs, old), 1, training={"batch_size": 2}).artifacts["model"]
    own = SampleIndex.from_artifact(pairs, split="train").images
    assert trained_on(model) == {*own, "0" * 64}
