"""Averages, operation counts, observations and ways to run a network, each against a calculation of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipelines.stage import StageError
from stages.models.numerics import tf32
from stages.training.config import OptimiserConfig, TrainConfig
from stages.training.ema import Ema
from stages.training.flops import training_flops
from stages.training.meter import Meter
from stages.training.method import Phase
from stages.training.prepare import prepare
from stages.training.ranks import share_of
from tests.support.training import Meeting, ThreadRank, Toy, batch


def test_ema_is_exact_where_float32_is_exact():
    """Decay 3/4 and small integers: every sum of the closed form d^n w0 + (1-d) sum d^(n-k) wk is a float32."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(4, 4, bias=False))
    history = []
    generator = torch.Generator().manual_seed(1)

    def draw():
        for value in network.state_dict().values():
            value.copy_(torch.randint(-64, 64, value.shape, generator=generator))
        history.append({name: value.double() for name, value in network.state_dict().items()})

    draw()
    ema = Ema(network, 0.75)
    for _ in range(5):
        draw()
        ema.update()
    for name, average in ema.average.items():
        expected = 0.75**5 * history[0][name] + sum(0.25 * 0.75 ** (5 - k) * history[k][name] for k in range(1, 6))
        if "running" in name or "num_batches" in name:  # buffers are those of the last step
            expected = history[5][name]
        assert torch.equal(average.double(), expected)


def test_shares_of_ranks_are_contiguous_and_complete():
    for count in range(12):
        for size in range(1, 6):
            meeting = Meeting(size)
            shares = [share_of(count, ThreadRank(meeting, rank)) for rank in range(size)]
            assert [i for start, stop in shares for i in range(start, stop)] == list(range(count))
            assert max(b - a for a, b in shares) - min(b - a for a, b in shares) <= 1


def test_flops_of_a_training_step_are_counted_and_leave_no_trace():
    """A 3x3 convolution of 3 to 48 channels on one pixel: 2*27*48 forward, as much again for its weights' gradient."""
    method = Toy(OptimiserConfig())
    method.network.register_buffer("seen", torch.zeros(1))
    forward = method.up
    method.up = lambda lr: (method.network.seen.add_(1), forward(lr))[1]
    phases = [Phase("a", ("net",), OptimiserConfig(), method.losses, repeats=3)]
    assert training_flops(phases, method.networks, batch([0.1, 0.2])) == 2 * (2 * 27 * 48)
    assert method.network.seen.item() == 0
    assert all(p.grad is None for p in method.network.parameters())


def test_a_meter_gives_shares_of_wall_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    meter = Meter("cpu", flops_per_sample=5e9, peak_tflops=0.1)
    for seconds, loss in ((1.0, 2.0), (1.0, float("nan")), (2.0, 4.0)):
        with meter.step():
            with meter.spent("data_wait"):
                now[0] += seconds / 4
            now[0] += 3 * seconds / 4
        meter.add({"loss": loss}, 8)
    with meter.spent("checkpoint_stall"):
        now[0] += 4.0
    line = meter.values()
    assert (line["loss"], line["samples_per_second"]) == (3.0, 3.0)
    assert (line["data_wait"], line["checkpoint_stall"]) == (0.125, 0.5)
    assert (line["step_ms_median"], line["flops_share"]) == (1000.0, pytest.approx(0.15))
    assert line["step_ms_p95"] > 1500
    assert line["peak_memory_gb"] > 0.05
    now[0] += 1
    assert "loss" not in meter.values()


class Block(nn.Module):
    recomputes = True

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 4), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.tanh(self.layer(x))


def config(**changed):
    return TrainConfig(steps=1, device="cuda", **changed)


def test_recomputation_gives_the_same_gradients_and_names():
    torch.manual_seed(0)
    plain = nn.Sequential(Block(), Block())
    again = nn.Sequential(Block(), Block())
    again.load_state_dict(plain.state_dict())
    for _ in range(2):
        prepare(again, config(recompute=True))
    x = torch.randn(3, 4)
    for network in (plain, again):
        network(x).square().sum().backward()
    assert again.state_dict().keys() == plain.state_dict().keys()
    for (name, p), q in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name
    assert [block.calls for block in plain] == [1, 1]
    assert [block.calls for block in again] == [2, 2]
    with torch.no_grad():
        again(x)
    assert [block.calls for block in again] == [3, 3]
    with pytest.raises(StageError, match=r"Linear has no blocks"):
        prepare(nn.Linear(2, 2), config(recompute=True))


def test_what_is_compiled_is_what_is_called(monkeypatch):
    """A network without a forward of its own is a bundle: its children with weights are compiled."""
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, dynamic: compiled.append((self, dynamic)))

    class Bundle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space, self.denoiser = nn.PixelShuffle(4), Block()

    bundle, block = Bundle(), Block()
    for network in (bundle, block):
        prepare(network, config(compile=True))
    assert compiled == [(bundle.denoiser, False), (block, False)]


def test_tf32_is_as_asked_and_put_back():
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = products.fp32_precision, convolutions.fp32_precision
    for allowed, value in ((True, "tf32"), (False, "ieee")):
        with tf32(allowed):
            assert (products.fp32_precision, convolutions.fp32_precision) == (value, value)
    assert (products.fp32_precision, convolutions.fp32_precision) == before
