"""One training step of ours against the official ResShift's: same weights, batch and losses, in turns.

    python -m tests.benchmarks.training_step --reference CHECKOUT [--width 32] [--batch 8] [--threads 1 2] [--profile]

CHECKOUT is a clone of github.com/zsyOAOA/ResShift (`tests/support/official_resshift.py`). The topology is the paper's,
64x64 latents of 256x256 pixels at x4, with fewer channels. Ours is the whole of `Updater.update` (losses, backward,
gradient norm, guard, AdamW) and the average; theirs what their trainer does for a step, without its reading of data.
Both have the same wrong shift mask here, so that they compute the same numbers: that is checked first.
A round runs each contender once after the other, in alternating order; the ratio is the median over rounds.
On a machine that others use, CPU seconds on one thread are what to compare.

Three settings: latents cheap to have (4x4 means, the network alone), the VQ autoencoder in the loop of both, and
theirs with it against ours from stored latents.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from stages.diffusion.noise import Noise
from stages.methods.resshift import ResShiftConfig, ResShiftMethod
from stages.models.keymaps.published import our_names
from stages.models.latent_space import TrainedAutoencoder
from stages.models.resshift import ResShiftModel
from stages.models.vq import VQAutoencoder
from stages.training.guard import Guard
from stages.training.method import Batch
from stages.training.ranks import SOLO
from stages.training.state import TrainState
from stages.training.update import Updater
from tests.support import official_resshift as official
from tests.support.training import context

RATE, EMA = 5e-5, 0.999


class Means(TrainedAutoencoder):
    """4x4 means of pixels as latents: an encoder that costs nothing."""

    family, channels, factor = "means", 3, 4

    def __init__(self) -> None:
        super().__init__()
        self.constructor = {}
        self.of_type = nn.Parameter(torch.zeros(1), requires_grad=False)  # the official code asks for its type

    def encode(self, image: Tensor) -> Tensor:
        return avg_pool2d(image, 4)


class Ours:
    """A whole step of ours on one batch."""

    def __init__(
        self, weights: nn.Module, autoencoder: TrainedAutoencoder, batch: Batch, width: int, swin: int, folder: Path
    ) -> None:
        network = {"kind": "swin", "width": width, "swin_width": swin, "legacy_shift_mask": True}
        config = ResShiftConfig(
            steps=1, network=network, residual=False, autoencoder="artifact",
            training={"batch_size": len(batch), "learning_rate": RATE, "ema": EMA},
        )  # fmt: skip
        process = config.process.model_dump()
        self.model = ResShiftModel(
            scale=4, autoencoder=autoencoder, residual=False, network=network, process=process
        ).train()
        self.model.load_state_dict(our_names(weights.state_dict(), "resshift", self.model))
        self.method, self.batch = ResShiftMethod(self.model, config), batch
        state = TrainState.create(self.method)
        self.average = state.averages["model"]
        self.updater = Updater(state, config, SOLO, Guard(state, SOLO, context(folder, config)), "cpu")

    def step(self) -> None:
        self.updater.update(self.method.phases[0], self.batch)
        self.average.update()


def differences(ours: Ours, theirs: official.OfficialStep) -> float:
    """|| our gradient - theirs || / || theirs || over all weights, at the same steps and noise."""
    batch = ours.batch
    t = batch.noise.integers("t", batch.samples, 15)
    noise = batch.noise.normal("forward", batch.samples, (3, *(side // 4 for side in batch.hr.shape[-2:])))
    theirs.losses(2 * batch.lr - 1, 2 * batch.hr - 1, t, noise)["mse"].mean().backward()
    ours.method.losses(batch)["loss"].backward()
    by_name = {name: p.grad for name, p in theirs.model.named_parameters() if p.grad is not None}
    expected = our_names(by_name, "resshift", ours.model)
    found = dict(ours.model.named_parameters())
    wrong = sum(float((found[name].grad - value).square().sum()) for name, value in expected.items())
    size = sum(float(value.square().sum()) for value in expected.values())
    for model in (ours.model, theirs.model):
        model.zero_grad()
    return float((wrong / size) ** 0.5)


Spent = tuple[float, float]
"""Wall seconds and CPU seconds."""


def rounds(contenders: list[Callable[[], None]], seconds: float, least: int) -> list[list[Spent]]:
    """What each contender spends, by round, in turns."""
    for step in contenders:
        step()
    found: list[list[Spent]] = []
    began = time.perf_counter()
    while len(found) < least or time.perf_counter() - began < seconds:
        row = [(0.0, 0.0)] * len(contenders)
        order = range(len(contenders)) if len(found) % 2 else reversed(range(len(contenders)))
        for place in order:
            wall, cpu = time.perf_counter(), time.process_time()
            contenders[place]()
            row[place] = (time.perf_counter() - wall, time.process_time() - cpu)
        found.append(row)
    return found


def report(name: str, found: list[list[Spent]]) -> None:
    print(f"  {name}, {len(found)} rounds")
    for clock, unit in enumerate(("wall", "CPU")):
        ours, theirs = ([row[place][clock] for row in found] for place in (0, 1))
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        quarter = len(ratios) // 4
        print(
            f"    steps a {unit} second   ours {1 / statistics.median(ours):6.3f}   theirs "
            f"{1 / statistics.median(theirs):6.3f}   ratio {statistics.median(ratios):5.2f} "
            f"(quartiles {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
        )


def profiled(name: str, step: Callable[[], None], rows: int = 18) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(2):
            step()
    print(f"-- {name}")
    print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--swin-width", type=int, default=64)
    parser.add_argument("--vq-width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    official.load(args.reference)
    torch.manual_seed(0)
    network = official.network(args.width, args.swin_width)
    for parameter in network.parameters():  # layers that start at zero would leave gradients at zero behind them
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    samples = tuple(range(args.batch))
    batch = Batch(torch.rand(args.batch, 3, 64, 64), torch.rand(args.batch, 3, 256, 256), samples,
                  tuple(map(str, samples)), Noise(0))  # fmt: skip
    their_vq = official.autoencoder(args.vq_width)
    our_vq = VQAutoencoder(width=args.vq_width)
    our_vq.load_state_dict(our_names(their_vq.state_dict(), "vq", our_vq))
    lq, gt = 2 * batch.lr - 1, 2 * batch.hr - 1
    with tempfile.TemporaryDirectory() as temporary:
        ours = {
            name: Ours(network, vq, batch, args.width, args.swin_width, Path(temporary) / name)
            for name, vq in (("means", Means()), ("vq", our_vq))
        }
    theirs = {"means": official.OfficialStep(network, Means(), RATE, EMA)}
    theirs["vq"] = official.OfficialStep(official.network(args.width, args.swin_width), their_vq, RATE, EMA)
    theirs["vq"].model.load_state_dict(network.state_dict())
    for threads in args.threads:
        torch.set_num_threads(threads)
        print(f"width {args.width}, Swin {args.swin_width}, VQ {args.vq_width}, batch {args.batch}, {threads} threads")
        if threads == args.threads[0]:
            for name in ours:
                print(f"  gradients, {name}: differ by {differences(ours[name], theirs[name]):.1e}")
        if args.profile:
            profiled("ours", ours["means"].step)
            profiled("theirs", lambda: theirs["means"].step(lq, gt))
        for name, mine, other in (
            ("network alone", "means", "means"),
            ("VQ in both loops", "vq", "vq"),
            ("VQ in theirs, our latents stored", "means", "vq"),
        ):
            found = rounds([ours[mine].step, lambda other=other: theirs[other].step(lq, gt)], args.seconds, 5)
            report(name, found)


if __name__ == "__main__":
    main()
