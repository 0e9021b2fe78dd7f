"""A spec's list of losses: what is accepted, what each weight does, and ranges."""

import pydantic
import pytest
import torch

from pipelines.stage import Config
from stages.losses.combined import CombinedLoss
from stages.losses.config import LossList, wants_lpips
from stages.losses.lpips_weights import MissingWeights, load_lpips
from stages.losses.pixel import charbonnier, l1
from tests.stages.losses.test_lpips import files


class Some(Config):
    losses: LossList


def parse(*terms: dict[str, object]) -> LossList:
    return Some(losses=terms).losses


EVERY = (
    {"kind": "l1"}, {"kind": "mse"}, {"kind": "charbonnier", "scales": 2}, {"kind": "ssim", "weight": 0.5},
    {"kind": "ms_ssim", "levels": 2}, {"kind": "gradient"}, {"kind": "frequency"},
    {"kind": "focal_frequency", "alpha": 0.5}, {"kind": "lpips", "trunk": "alex", "weight": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def lpips_weights() -> dict[str, torch.Tensor]:
    convolutions, heads = files("alex")
    return convolutions | heads


def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)


def test_the_total_is_the_weighted_sum_and_a_range_changes_nothing(lpips_weights):
    sr, hr = images()
    unit = CombinedLoss(parse(*EVERY), value_range=(0, 1), lpips=lpips_weights)(sr, hr)
    signed = CombinedLoss(parse(*EVERY), value_range=(-1, 1), lpips=lpips_weights)(2 * sr - 1, 2 * hr - 1)
    assert list(unit) == [term["kind"] for term in EVERY] + ["total"]
    assert unit["l1"] == l1(sr, hr)
    assert unit["charbonnier"] == charbonnier(sr, hr, scales=2)
    assert torch.allclose(unit["lpips"], load_lpips("alex", lpips_weights)(2 * sr - 1, 2 * hr - 1).mean())
    expected = sum(float(term.get("weight", 1)) * unit[term["kind"]].item() for term in EVERY)
    assert unit["total"].item() == pytest.approx(expected, rel=1e-5)
    for name, value in unit.items():
        assert value.shape == ()
        assert signed[name].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6), name


def test_half_precision_inside_autocast_is_compared_in_full(lpips_weights):
    sr, hr = (image.bfloat16() for image in images())
    combined = CombinedLoss(parse(*EVERY), value_range=(0, 1), lpips=lpips_weights)
    with torch.autocast("cpu", torch.bfloat16):
        inside = combined(sr, hr)
    outside = combined(sr.float(), hr.float())
    assert all(torch.equal(inside[name], outside[name]) for name in outside)


def test_micro_batches_average_to_the_whole(lpips_weights):
    sr, hr = images()
    combined = CombinedLoss(parse(*EVERY), value_range=(0, 1), lpips=lpips_weights)
    halves = [combined(sr[i : i + 1], hr[i : i + 1])["total"] for i in (0, 1)]
    assert torch.stack(halves).mean().item() == pytest.approx(combined(sr, hr)["total"].item(), rel=1e-5)


def test_what_a_list_refuses():
    for bad, said in (
        ([], "at least 1 item"),
        ([{"kind": "l1"}, {"kind": "l1", "weight": 2}], "l1 is there twice"),
        ([{"kind": "dists"}], "does not match any of the expected tags"),
        ([{"kind": "l1", "scales": 2}], "Extra inputs are not permitted"),
        ([{"kind": "ssim", "weight": 0}], "greater than 0"),
    ):
        with pytest.raises(pydantic.ValidationError, match=said):
            parse(*bad)


def test_lpips_is_never_replaced():
    losses = parse({"kind": "l1"}, {"kind": "lpips"})
    assert wants_lpips(losses)
    assert not wants_lpips(losses[:1])
    with pytest.raises(MissingWeights, match=r"vgg16-397923af\.pth"):
        CombinedLoss(losses, value_range=(0, 1))
