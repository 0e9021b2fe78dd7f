"""distill.rsd as the paper has it: its gradient, its starting point, who learns when, and one step at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.stage import StageError
from stages.diffusion.noise import Noise
from stages.diffusion.resshift import ResShift
from stages.methods.rsd import RSDConfig, RSDMethod, distillation_loss, nodes_of
from stages.models.critic import Critic
from stages.models.denoisers import build_denoiser
from stages.models.flops import parameters
from stages.models.numerics import seeded
from stages.models.one_step import OneStepModel
from stages.training.method import Batch
from stages.training.state import TrainState
from tests.support.distillation import SWIN, UNET, batch, restless, teacher


def method(network=UNET, losses=None, timesteps: int = 4, **changed) -> RSDMethod:
    from stages.losses.combined import CombinedLoss

    config = RSDConfig(**{"steps": 1, "nodes": min(4, timesteps), "losses": losses, **changed})
    images = CombinedLoss(config.losses, value_range=(-1, 1)) if config.losses else None
    with seeded(2):
        return RSDMethod(teacher(network, timesteps), config, images)


def moved(made: RSDMethod) -> RSDMethod:
    """A fake model that has left the teacher."""
    with torch.no_grad():
        for parameter in made.fake.parameters():
            parameter.add_(0.02 * torch.sin(torch.arange(float(parameter.numel()))).view_as(parameter))
    return made


# -- proposition 3.1


def gaussian(stop_gradient: bool, normalise: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """(gradient of equation 9, that of the loss) for a student x0 = mean + deviation * eps in one dimension.

    Data are N(0.3, 0.7^2) given y = -0.4, and both f* and the best fake model are posterior means: linear in z_t.
    Then equation 9 has a closed form, and expectations of the loss are exact by Gauss-Hermite quadrature.
    """
    y, process = -0.4, ResShift.create(4, kappa=1.0, min_noise=0.3)
    theta = torch.tensor([0.9, 0.5], dtype=torch.float64, requires_grad=True)

    def posterior_mean(mean, deviation, eta):
        """(slope, offset) of E[x0 | z_t], z_t = (1 - eta) x0 + eta y + kappa sqrt(eta) noise."""
        slope = (1 - eta) * deviation**2 / ((1 - eta) ** 2 * deviation**2 + eta)
        return slope, mean - slope * ((1 - eta) * mean + eta * y)

    true, tractable = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    nodes, weights = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(8))
    eps, noise = (grid.reshape(-1, 1, 1, 1) for grid in torch.meshgrid(nodes, nodes, indexing="ij"))
    probability = (weights[:, None] * weights[None]).flatten() / weights.sum() ** 2
    for eta in (root**2 for root in process.sqrt_eta):
        star = posterior_mean(torch.tensor(0.3).double(), torch.tensor(0.7).double(), eta)
        mine = posterior_mean(theta[0], theta[1], eta)
        slope, offset = mine[0] - star[0], mine[1] - star[1]
        mean, variance = (1 - eta) * theta[0] + eta * y, (1 - eta) ** 2 * theta[1] ** 2 + eta
        true = true + (slope * mean + offset) ** 2 + slope**2 * variance
        x0 = theta[0] + theta[1] * eps
        z_t = x0 + eta * (y - x0) + eta**0.5 * noise
        fixed = mine[0].detach(), mine[1].detach()
        loss = distillation_loss(
            x0, z_t, lambda z, f=star: f[0] * z + f[1], lambda z, f=fixed: f[0] * z + f[1],
            stop_gradient=stop_gradient, normalise=normalise,
        )  # fmt: skip
        tractable = tractable + (probability * loss).sum()
    assert normalise or tractable.item() == pytest.approx(true.item(), rel=1e-5)
    return torch.autograd.grad(true, theta)[0], torch.autograd.grad(tractable, theta)[0]


def test_the_loss_has_the_gradient_of_equation_9():
    true, found = gaussian(stop_gradient=False)
    assert torch.allclose(found, true, rtol=1e-4)


def test_without_the_way_through_z_t_it_is_another_gradient():
    true, found = gaussian(stop_gradient=True)
    assert ((found - true).abs() > 0.05 * true.abs()).all()


def test_the_normalised_loss_divides_each_sample_by_its_distance_from_the_teacher():
    x0, z_t = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    plain, normalised = (
        distillation_loss(x0, z_t, lambda z: 2 * z, lambda z: z + 1, normalise=flag) for flag in (False, True)
    )
    expected = [
        ((2 * z - x) ** 2 - (z + 1 - x) ** 2).mean() / (2 * z - x).abs().mean() for x, z in zip(x0, z_t, strict=True)
    ]
    assert torch.allclose(normalised, torch.stack(expected), rtol=1e-5)
    assert not torch.allclose(plain, normalised)


# -- the start: all three networks are the teacher


@pytest.mark.parametrize("network", [UNET, SWIN])
def test_the_student_begins_as_the_teacher_whatever_its_noise(network):
    made, some = method(network), batch()
    zy = made.teacher.encode_lr(some.lr)
    t = torch.tensor([0, 2, 3])
    for planes in (torch.randn(3, 1, 8, 8), 100 * torch.randn(3, 1, 8, 8)):
        answer = made.student.predict_x0(zy + 1, t, some.lr, zy, planes=planes)
        assert torch.allclose(answer, made.teacher.predict_x0(zy + 1, t, some.lr, zy), atol=1e-5)
    sizes = {name: value.shape for name, value in made.student.state_dict().items()}
    wider = [name for name, value in made.teacher.state_dict().items() if sizes[name] != value.shape]
    assert wider == ["denoiser.stem.weight" if network is UNET else "denoiser.encoder.0.conv.weight"]
    assert sizes[wider[0]][1] == (48 + 1 if network is UNET else 48 + 3 + 1)


@pytest.mark.parametrize("network", [UNET, SWIN])
def test_before_the_first_update_distillation_is_zero_and_so_is_its_gradient(network):
    made = method(network, gan=0.0)
    loss = made.student_losses(batch())["distillation"]
    loss.backward()
    assert loss.item() == 0
    assert max(p.grad.abs().max() for p in made.student.parameters() if p.grad is not None) < 1e-6


def test_the_fake_loss_is_the_teachers_own_on_the_students_answers():
    made, some = method(gan=0.0), batch()
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    x0 = made.answer(some, z0, zy)
    t = some.noise.integers("t", some.samples, 4)
    eta = torch.tensor([root**2 for root in made.process.sqrt_eta])[t].view(-1, 1, 1, 1)
    z_t = (1 - eta) * x0 + eta * zy + 2.0 * eta.sqrt() * some.noise.normal("renoise", some.samples, zy.shape[1:])
    expected = (made.teacher.predict_x0(z_t, t, some.lr, zy) - x0).square().mean()
    assert torch.allclose(made.fake_losses(some)["loss"], expected, rtol=1e-4)


# -- nodes


@pytest.mark.parametrize(
    ("timesteps", "nodes", "expected"),
    [
        (15, 1, (14,)), (15, 2, (7, 14)), (15, 4, (3, 7, 11, 14)), (15, 15, tuple(range(15))),
        (15, 8, (1, 3, 5, 7, 9, 11, 13, 14)), (4, 4, (0, 1, 2, 3)), (15, (4, 8, 12, 14), (4, 8, 12, 14)),
    ],
)  # fmt: skip
def test_nodes_are_evenly_spaced_and_end_at_t(timesteps, nodes, expected):
    assert nodes_of(ResShift.create(timesteps), nodes) == expected


@pytest.mark.parametrize(
    ("nodes", "message"), [(16, "at most 15"), ((3, 7), r"up to 14, .*; got \[3, 7\]"), ((3, 20), "up to 14")]
)
def test_nodes_that_the_process_does_not_have_are_refused(nodes, message):
    with pytest.raises(StageError, match=message):
        nodes_of(ResShift.create(15), nodes)


def test_the_student_answers_from_a_node_of_the_true_chain():
    """z_n by the chain's own steps (equation 1) and not by its marginal, from the true z0."""
    made = method(timesteps=15, nodes=(2, 6, 14))
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    made.student.predict_x0 = lambda z, t, *_, planes: seen.append((z, t, planes)) or z
    some = Batch(torch.rand(6, 3, 8, 8), torch.rand(6, 3, 32, 32), tuple(range(40, 46)), tuple("abcdef"), Noise(7))
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    made.answer(some, z0, zy)
    z_n, n, planes = seen[0]
    assert n.tolist() == [(2, 6, 14)[Noise(7).integer("node", sample, 3)] for sample in range(40, 46)]
    assert len(set(n.tolist())) == 3
    for i in range(6):
        mean, variance, before = z0[i], 0.0, 0.0
        for root in made.process.sqrt_eta[: int(n[i]) + 1]:
            alpha, before = root**2 - before, root**2
            mean, variance = mean + alpha * (zy[i] - z0[i]), variance + 4.0 * alpha
        noise = Noise(7).normal("forward", [40 + i], z0.shape[1:])[0]
        assert torch.allclose(z_n[i], mean + variance**0.5 * noise, atol=1e-4)
    assert torch.equal(planes, Noise(7).normal("planes", list(range(40, 46)), (1, 8, 8)))


# -- who learns when


def gradients(made: RSDMethod, phase: str) -> dict[str, bool]:
    """Whether any weight of each network holds a gradient after the phase's backward pass."""
    losses = {"fake": made.fake_losses, "student": made.student_losses}[phase]
    losses(batch())["loss"].backward()
    parts = {"teacher": made.teacher, "student": made.student, "fake": made.fake.denoiser, "head": made.fake.head}
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
        for name, part in parts.items()
        if part is not None
    }


def test_each_phase_leaves_gradients_in_its_own_networks_only():
    made = moved(method(losses=[{"kind": "l1"}]))
    assert gradients(made, "fake") == {"teacher": False, "student": False, "fake": True, "head": True}
    made.fake.zero_grad(set_to_none=True)
    assert gradients(made, "student") == {"teacher": False, "student": True, "fake": False, "head": False}
    assert all(p.grad is None for network in (made.teacher, made.fake) for p in network.parameters())
    made.student.zero_grad(set_to_none=True)
    assert gradients(made, "fake")["head"]


def test_the_optimisers_hold_all_weights_after_costs_were_counted():
    from stages.training.flops import training_flops

    made = method()
    assert training_flops(made.phases, made.networks, batch(1)) > 0
    state = TrainState.create(made)
    for name in ("student", "fake"):
        held = sum(p.numel() for group in state.optimisers[name].param_groups for p in group["params"])
        assert held == sum(p.numel() for p in made.networks[name].parameters())


def test_micro_batches_and_ranks_add_up_to_the_batch():
    """Every loss is a mean over samples, whose noise goes by their own names."""
    made, some = moved(method(losses=[{"kind": "l1"}])), batch()
    for losses in (made.fake_losses, made.student_losses):
        parts = [losses(some.part(i, i + 1)) for i in range(3)]
        for name, value in losses(some).items():
            assert torch.allclose(value, sum(part[name] for part in parts) / 3, rtol=1e-4), name


def student_gradient(made: RSDMethod) -> torch.Tensor:
    made.student.zero_grad(set_to_none=True)
    made.student_losses(batch())["distillation"].backward()
    return torch.cat([p.grad.flatten() for p in made.student.parameters() if p.grad is not None])


def test_the_student_learns_through_z_t_and_with_vsd_it_does_not():
    plain, vsd = (student_gradient(moved(method(variant=name, gan=0.0))) for name in ("rsd", "vsd"))
    made, some = moved(method(gan=0.0, normalise=False)), batch()
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    x0 = made.answer(some, z0, zy)
    z_t, t = made.renoised(some, x0, zy)
    with torch.no_grad():
        star, fake = (network.predict_x0(z_t, t, some.lr, zy) for network in (made.teacher, made.fake))
    weights = 1 / ((star - x0.detach()).abs().mean((1, 2, 3)) + 1e-8)
    surrogate = (2 * (fake - star) * x0).mean((1, 2, 3))  # appendix A.1
    (surrogate * weights).mean().backward()
    expected = torch.cat([p.grad.flatten() for p in made.student.parameters() if p.grad is not None])
    assert torch.allclose(vsd, expected, atol=1e-6)
    assert (plain - vsd).norm() > 0.05 * vsd.norm()


def test_the_discriminator_tells_clean_latents_apart_at_the_first_step():
    made, some = method(), batch()
    seen = []
    bottleneck = made.fake.denoiser.bottleneck
    made.fake.denoiser.bottleneck = lambda x, pixels, t: seen.append((x, t)) or bottleneck(x, pixels, t)
    losses = made.fake_losses(some)
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    unit = (1 + 4 * made.process.sqrt_eta[0] ** 2) ** -0.5
    assert torch.allclose(seen[0][0], unit * z0)
    assert torch.allclose(seen[1][0], unit * made.answer(some, z0, zy))
    assert all(t.tolist() == [0, 0, 0] for _, t in seen)
    real, fake = made.fake.logits(z0, some.lr), made.fake.logits(made.answer(some, z0, zy), some.lr)
    expected = torch.log1p(fake.exp()).mean() + torch.log1p((-real).exp()).mean()
    assert torch.allclose(losses["discriminator"], expected, rtol=1e-5)
    assert torch.allclose(losses["loss"], losses["x0"] + 3e-3 * expected)


def test_the_students_loss_is_the_sum_of_equation_13_and_wants_its_answers_to_look_real():
    made, some = moved(method(losses=[{"kind": "l1", "weight": 0.5}], gan=0.25)), batch()
    losses = made.student_losses(some)
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    logits = made.fake.logits(made.answer(some, z0, zy), some.lr)
    assert torch.allclose(losses["generator"], torch.log1p((-logits).exp()).mean(), rtol=1e-5)
    expected = losses["distillation"] + 0.25 * losses["generator"] + 0.5 * losses["l1"]
    assert torch.allclose(losses["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(("side", "logits"), [(8, 1), (16, 2), (3, 1), (1, 1)])
def test_the_head_judges_bottlenecks_of_any_size(side, logits):
    head = Critic(teacher(), judges=True).head
    assert head is not None
    assert head(torch.randn(2, 16, side, side)).shape == (2, 1, logits, logits)


def test_image_losses_see_the_answer_of_inference():
    """The decoded answer of the supervised loss is what `super_resolve` gives for the same noise."""
    made, some = method(losses=[{"kind": "l1"}]), batch(1)
    zy = made.teacher.encode_lr(some.lr)
    picture = (made.decoded_answer(some, zy) + 1) / 2

    class Same:
        def __init__(self, seed: int) -> None: ...

        def normal(self, purpose, samples, shape):
            return some.noise.normal({"sample/1": "prior", "sample/planes": "prior planes"}[purpose], [0], shape)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stages.sampling.sampler.Noise", Same)
        assert torch.allclose(made.student.super_resolve(some.lr[0]), picture[0], atol=1e-6)
    assert torch.allclose(made.student_losses(some)["l1"], (picture - some.hr).abs().mean())


def test_latents_of_a_cache_stand_in_for_hr():
    made, some = moved(method()), batch()
    z0, zy = made.teacher.encode_pair(some.lr, some.hr)
    cached = Batch(some.lr, None, some.samples, some.keys, some.noise, (z0, zy))
    for losses in (made.fake_losses, made.student_losses):
        assert torch.equal(losses(cached)["loss"], losses(some)["loss"])
    assert not made.looks_at_hr
    assert method(losses=[{"kind": "l1"}]).looks_at_hr


# -- one step


def test_inference_is_one_evaluation_with_one_noise_field_over_tiles():
    made = OneStepModel.of_teacher(teacher(), 1)
    restless(made.denoiser)
    calls = []
    forward = made.denoiser.forward
    made.denoiser.forward = lambda x, pixels, t, planes: calls.append((t, planes)) or forward(x, pixels, t, planes)
    lr = torch.rand(3, 16, 16)
    whole = made.super_resolve(lr, seed=4, name="a")
    assert len(calls) == made.evaluations() == 1
    assert calls[0][0].tolist() == [3]
    field = Noise(4).normal("sample/planes", ["a"], (1, 16, 16))
    assert torch.equal(calls[0][1], field)
    assert torch.equal(made.super_resolve(lr, seed=4, name="a", steps=1), whole)
    made.super_resolve(lr, seed=4, name="a", tile=8, overlap=4)
    assert all(any(torch.equal(planes, field[..., r : r + 8, c : c + 8]) for r in (0, 4, 8) for c in (0, 4, 8))
               for _, planes in calls[2:])  # fmt: skip
    assert len(calls) == 2 + 9
    with pytest.raises(ValueError, match="distilled to one step, got 4; leave `steps` out"):
        made.super_resolve(lr, steps=4)


def test_the_full_size_student_has_the_published_size():
    with torch.device("meta"):
        plain, widened = (build_denoiser(3, 4, 4, {"kind": "swin"}, noise_channels=planes) for planes in (0, 1))
    assert parameters(widened) == parameters(plain) + 160 * 9
    assert parameters(widened) / 1e6 == pytest.approx(118.596, abs=1e-3)
    assert widened.encoder[0].conv.in_channels == 3 + 3 + 1
    assert widened.bottleneck_channels == 640
