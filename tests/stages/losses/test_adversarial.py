"""GAN losses, the patch discriminator and VQGAN's adaptive weight, against formulas and known numbers."""

import pytest
import torch
from torch import nn

from stages.losses.adversarial import adaptive_weights, discriminator_loss, generator_loss, r1_penalty
from stages.losses.discriminator import PatchDiscriminator

LN2 = 0.6931472


@pytest.mark.parametrize(
    ("kind", "critic", "generator"),
    [("hinge", (0.5 + 1.5) / 2, -0.5), ("vanilla", (0.4740770 + 0.9740770) / 2, 0.4740770), ("lsgan", 0.25, 0.125)],
)
def test_losses_at_one_half(kind, critic, generator):
    half = torch.full((2, 1, 3, 3), 0.5)
    assert discriminator_loss(kind, half, half).item() == pytest.approx(critic)
    assert generator_loss(kind, half).item() == pytest.approx(generator)


def test_each_side_wins_at_its_own_end():
    sure = torch.tensor([8.0])
    for kind in ("hinge", "vanilla"):
        assert discriminator_loss(kind, sure, -sure) < 1e-3 < generator_loss(kind, -sure)
    assert discriminator_loss("vanilla", sure * 0, sure * 0).item() == pytest.approx(LN2)
    with pytest.raises(ValueError, match="expected hinge, vanilla or lsgan, got 'wgan'"):
        generator_loss("wgan", sure)


def test_vqgan_discriminator_has_its_size_names_and_view():
    network = PatchDiscriminator()
    assert sum(p.numel() for p in network.parameters()) == 2_765_633
    names = set(network.state_dict())
    assert {"main.0.weight", "main.2.weight", "main.3.running_mean", "main.11.bias"} <= names
    assert "main.2.bias" not in names  # before batch norm it would do nothing
    narrow = PatchDiscriminator(width=2)
    assert narrow(torch.zeros(2, 3, 256, 256)).shape == (2, 1, 30, 30)
    assert narrow(torch.zeros(1, 3, 24, 24)).shape == (1, 1, 1, 1)


def test_a_logit_sees_70_pixels():
    network = PatchDiscriminator(width=2, norm="none").eval()
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    network(image)[0, 0, 6, 6].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 70


def test_without_batch_norm_images_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    network = PatchDiscriminator(width=8, norm="group")
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5)


def test_spectral_norm_bounds_every_layer():
    torch.manual_seed(0)
    network = PatchDiscriminator(width=4, norm="none", spectral=True)
    for _ in range(50):  # power iteration, one step a forward pass
        network(torch.rand(1, 3, 32, 32))
    network.eval()
    sizes = [torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in network.main if isinstance(m, nn.Conv2d)]
    assert torch.stack(sizes).allclose(torch.ones(5), atol=0.02)


def test_r1_of_a_linear_critic_is_the_square_of_its_weights():
    weight = torch.arange(12.0).reshape(3, 2, 2)
    images = torch.rand(5, 3, 2, 2, requires_grad=True)
    penalty = r1_penalty((images * weight).sum((1, 2, 3)), images, gamma=10)
    assert penalty.item() == pytest.approx(5 * weight.square().sum().item())


def test_the_adaptive_weight_of_each_image_is_the_ratio_of_gradients_of_that_image_alone():
    """Equation 7 of VQGAN at a batch of one, by plain autograd; images of a batch do not change each other's."""
    torch.manual_seed(0)
    last, critic = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 1, 4, stride=2)
    features, images = torch.randn(3, 4, 9, 8), torch.randn(3, 3, 9, 8)

    def losses(place):
        answer = last(features[place])
        return answer, (answer - images[place]).abs().mean((1, 2, 3)).sum(), -critic(answer).mean((1, 2, 3)).sum()

    answer, reconstruction, adversarial = losses(slice(None))
    weights = adaptive_weights(reconstruction, adversarial, answer, features, last)
    for i in range(3):
        _, *alone = losses(slice(i, i + 1))
        lengths = [torch.autograd.grad(loss, last.weight, retain_graph=True)[0].norm() for loss in alone]
        assert weights[i].item() == pytest.approx((lengths[0] / (lengths[1] + 1e-4)).item(), rel=1e-5)
    assert not weights.requires_grad
    (reconstruction + (weights * adversarial).sum()).backward()  # the graph is still there


def test_an_adaptive_weight_has_a_ceiling():
    last, features = nn.Conv2d(1, 3, 1), torch.ones(2, 1, 2, 2)
    answer = last(features)
    assert adaptive_weights(1e9 * answer.sum(), answer.sum() * 0, answer, features, last).tolist() == [1e4, 1e4]
