"""LPIPS against a straightforward computation of its own, and the files its weights come in."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from stages.losses.lpips import Lpips
from stages.losses.lpips_weights import MissingWeights, load_lpips
from stages.models.weights import write_weights

# torchvision's numbers of the convolutions: (place, out, in, kernel)
ALEX = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG = tuple(zip(VGG_PLACES, VGG_WIDTHS, (3, *VGG_WIDTHS[:-1]), [3] * 13, strict=True))
HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def files(trunk: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Random weights under the names of torchvision's checkpoint, and of the lpips package's heads."""
    draw = torch.Generator().manual_seed(5)
    convolutions: dict[str, torch.Tensor] = {"classifier.6.bias": torch.zeros(1000)}
    for place, out, into, side in ALEX if trunk == "alex" else VGG:
        deviation = (2 / (into * side * side)) ** 0.5
        convolutions[f"features.{place}.weight"] = deviation * torch.randn(out, into, side, side, generator=draw)
        convolutions[f"features.{place}.bias"] = 0.1 * torch.randn(out, generator=draw)
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=draw) for k, c in enumerate(HEADS[trunk])}
    return convolutions, heads


def by_hand(trunk: str, weights: dict[str, torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """The five feature maps, in double precision, from the papers' tables of layers."""
    x = (image.double() - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor(
        [0.458, 0.448, 0.450]
    ).view(3, 1, 1)

    def conv(place: int, x: torch.Tensor, **how: int) -> torch.Tensor:
        w, b = weights[f"features.{place}.weight"].double(), weights[f"features.{place}.bias"].double()
        return conv2d(x, w, b, **how).clamp_min(0)

    found = []
    if trunk == "alex":
        for place, how in ((0, {"stride": 4, "padding": 2}), (3, {"padding": 2}), (6, {"padding": 1}),
                           (8, {"padding": 1}), (10, {"padding": 1})):  # fmt: skip
            x = conv(place, max_pool2d(x, 3, 2) if place in (3, 6) else x, **how)
            found.append(x)
        return found
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        x = max_pool2d(x, 2, 2) if block[0] else x
        for place in block:
            x = conv(place, x, padding=1)
        found.append(x)
    return found


def distance_by_hand(trunk: str, weights: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    total = 0.0
    for k, (f, g) in enumerate(zip(by_hand(trunk, weights, a), by_hand(trunk, weights, b), strict=True)):
        f, g = (x / ((x**2).sum(1, keepdim=True) ** 0.5 + 1e-10) for x in (f, g))
        head = weights[f"lin{k}.model.1.weight"].double()
        total = total + (head * (f - g) ** 2).sum(1).mean((1, 2))
    return total


def pair(side: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return 2 * torch.rand(2, 3, side, side + 9, generator=draw) - 1, 2 * torch.rand(
        2, 3, side, side + 9, generator=draw
    ) - 1


@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_it_is_the_published_formula(trunk):
    convolutions, heads = files(trunk)
    a, b = pair()
    found = load_lpips(trunk, convolutions | heads)(a, b)
    expected = distance_by_hand(trunk, convolutions | heads, a, b)
    assert found.shape == (2,)
    assert torch.allclose(found.double(), expected, rtol=5e-6, atol=0)
    assert expected.min() > 1e-3


def test_every_spelling_of_the_weights_is_the_same_network(tmp_path):
    convolutions, heads = files("alex")
    a, b = pair()
    expected = load_lpips("alex", convolutions | heads)(a, b)
    package = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for name, value in convolutions.items():
        place = name.split(".")
        package[".".join(["net.slice3", *place[1:]])] = value
    package |= {name.replace("lin", "lins.").replace("model", "x"): torch.zeros(1) for name in heads}
    package |= {name.replace("model.1", "model.0"): value for name, value in heads.items()}
    assert torch.equal(load_lpips("alex", package)(a, b), expected)
    write_weights(tmp_path / "merged.safetensors", convolutions | heads)
    assert torch.equal(load_lpips("alex", tmp_path / "merged.safetensors")(a, b), expected)
    both = [tmp_path / "alexnet-owt-7be5be79.pth", tmp_path / "alex.pth"]
    for state, file in zip((convolutions, heads), both, strict=True):
        torch.save(state, file)
    assert torch.equal(load_lpips("alex", both)(a, b), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing", "has no weights, and nothing stands in for them"),
        ("trunk", "no weights for its heads (heads.0, heads.1, heads.2 and 2 more)"),
        ("heads", "no weights for its trunk (trunk.features.0.bias"),
        ("other", "weights of another network, of the other trunk perhaps"),
    ],
)
def test_what_is_missing_is_named_with_where_to_get_it(given, said):
    convolutions, heads = files("alex")
    other = files("vgg")
    weights = {"nothing": None, "trunk": convolutions, "heads": heads, "other": other[0] | other[1]}[given]
    with pytest.raises(MissingWeights, match=re.escape(said)) as caught:
        load_lpips("alex", weights)
    assert "alexnet-owt-7be5be79.pth" in str(caught.value)
    assert "uses: import.weights" in str(caught.value)
    assert str(Path.home()) not in str(caught.value)


def test_gradients_reach_the_images_only_and_are_finite_where_no_feature_fires():
    convolutions, heads = files("alex")
    silent = {name: -value.abs() if name.endswith("bias") else value * 0 for name, value in convolutions.items()}
    for weights in (convolutions, silent):
        network = load_lpips("alex", weights | heads)
        a, b = pair()
        a.requires_grad_()
        network(a, b).sum().backward()
        assert a.grad.isfinite().all()
        assert a.grad.any() == (weights is convolutions)
        assert not any(p.requires_grad for p in network.parameters())


def test_autocast_does_not_reach_it_and_nothing_is_drawn_for_it():
    convolutions, heads = files("alex")
    before = torch.get_rng_state()
    network = load_lpips("alex", convolutions | heads)
    assert torch.equal(torch.get_rng_state(), before)
    a, b = pair()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(a, b), network(a, b).float())
        inside = network(a, b)
    assert torch.equal(inside, network(a, b))


def test_sizes_that_do_not_fit_are_refused_and_the_smallest_works():
    with pytest.raises(ValueError, match=re.escape("at least 16 pixels a side; got [1, 3, 15, 32]")):
        Lpips("vgg")(torch.zeros(1, 3, 15, 32), torch.zeros(1, 3, 15, 32))
    for trunk, side in (("alex", 31), ("vgg", 16)):
        convolutions, heads = files(trunk)
        network = load_lpips(trunk, convolutions | heads)
        assert network(torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side)).isfinite().all()


def test_parameter_counts_of_the_trunks():
    sizes = {trunk: sum(p.numel() for p in Lpips(trunk).trunk.parameters()) for trunk in ("alex", "vgg")}
    assert sizes == {"alex": 2_469_696, "vgg": 14_714_688}
