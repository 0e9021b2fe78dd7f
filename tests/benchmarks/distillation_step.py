"""Time and peak memory of whole RSD steps (K updates of the fake model, one of the student), in one run.

    python -m tests.benchmarks.distillation_step [--device cuda] [--width 160] [--batch 8] [--updates 1 5] [--steps 4]

The paper's topology at x4: 64x64 latents of 256x256 pixels from a VQ autoencoder, whose width is 4/5 of the denoiser's
(160 and 128 at full size). Every contender does the same step from the same weights, in a process of its own, so that
its peak is its own: of resident memory on the CPU, of allocations on a GPU. LPIPS has random weights, which cost the
same as trained ones.

plain      nothing is frozen: the student's loss leaves gradients in teacher and fake model too, as public trainers do;
           HR and enlarged LR are encoded apart
ours       `distill.rsd` as it is
others     the settings of the config that trade arithmetic or time for memory
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from stages.diffusion.noise import Noise
from stages.losses.combined import CombinedLoss
from stages.losses.lpips import Lpips
from stages.methods import rsd
from stages.models.numerics import seeded
from stages.models.resshift import ResShiftModel
from stages.models.vq import VQAutoencoder
from stages.training.ema import Ema
from stages.training.method import Batch, Phase
from stages.training.prepare import prepare
from stages.training.update import AUTOCAST

CONTENDERS: dict[str, dict[str, Any]] = {"plain": {}, "ours": {}, "recompute": {"recompute": True}}
ON_A_GPU: dict[str, dict[str, Any]] = {
    "bf16 autoencoder": {"autoencoder_precision": "bf16"},
    "bf16": {"training": {"precision": "bf16"}},
    "bf16, compiled": {"training": {"precision": "bf16"}, "compile": True},
    "bf16, recompute": {"training": {"precision": "bf16"}, "recompute": True},
}


class Plain(rsd.RSDMethod):
    """The same losses without the savings."""

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.teacher.autoencoder.encode(2 * batch.hr - 1), self.teacher.encode_lr(batch.lr)

    def fake_losses(self, batch: Batch) -> Any:
        kept, self.answer = self.answer, torch.no_grad()(self.answer)  # type: ignore[method-assign]
        try:
            return super().fake_losses(batch)
        finally:
            self.answer = kept  # type: ignore[method-assign]


def random_lpips() -> dict[str, Tensor]:
    """Weights as the files that people have name them."""
    lpips = Lpips("alex")
    for weight in lpips.parameters():
        nn.init.normal_(weight, std=0.02)
    named = {name.removeprefix("trunk."): value for name, value in lpips.trunk.state_dict().items()}
    return named | {f"lin{place}.model.1.weight": head for place, head in enumerate(lpips.heads)}


def contender(name: str, width: int, batch: int, updates: int, device: str) -> tuple[rsd.RSDMethod, rsd.RSDConfig]:
    settings = {"steps": 1, "device": "cuda", "fake_updates": updates, "losses": [{"kind": "lpips", "trunk": "alex"}]}
    config = rsd.RSDConfig(**{**settings, **{**CONTENDERS, **ON_A_GPU}[name]})
    with seeded(0):
        teacher = ResShiftModel(
            scale=4, autoencoder=VQAutoencoder(width=4 * width // 5), residual=False,
            network={"kind": "swin", "width": width, "swin_width": 32 * (6 * width // 160)},
            process={"timesteps": 15, "kappa": 2.0, "min_noise": 0.04},
        ).to(device)  # fmt: skip
        images = CombinedLoss(config.losses or (), value_range=(-1, 1), lpips=random_lpips()).to(device)
        method = (Plain if name == "plain" else rsd.RSDMethod)(teacher, config, images)
    for network in (teacher, *method.networks.values()):
        prepare(network.to(device), config)
    if name == "plain":
        rsd._only = lambda *_: None
        teacher.requires_grad_(True)
    return method, config


def measure(name: str, width: int, size: int, updates: int, steps: int, device: str, found: Any) -> None:
    method, config = contender(name, width, size, updates, device)
    optimisers = {
        phase.name: torch.optim.AdamW([w for n in phase.trains for w in method.networks[n].parameters()], 5e-5)
        for phase in method.phases
    }
    average = Ema(method.student, config.training.ema)
    with seeded(1):
        batch = Batch(torch.rand(size, 3, 64, 64), torch.rand(size, 3, 256, 256), tuple(range(size)),
                      tuple(map(str, range(size))), Noise(0)).to(device)  # fmt: skip

    def update(phase: Phase) -> None:
        precision = AUTOCAST[config.training.precision]
        with torch.autocast(device, dtype=precision, enabled=precision is not None):
            loss = phase.losses(batch)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimisers[phase.name].step()
        optimisers[phase.name].zero_grad(set_to_none=True)

    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        for phase in method.phases:
            for _ in range(phase.repeats):
                update(phase)
        average.update()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    on_gpu = device == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found.put((statistics.median(seconds[1:]), peak))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--width", type=int, default=160, help="a multiple of 40")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--updates", type=int, nargs="+", default=[1, 5])
    asked = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    print(f"torch {torch.__version__}, {asked.device}, width {asked.width}, batch {asked.batch}")
    for updates in asked.updates:
        for name in {**CONTENDERS, **(ON_A_GPU if asked.device == "cuda" else {})}:
            found = processes.Queue()
            arguments = (name, asked.width, asked.batch, updates, asked.steps, asked.device, found)
            process = processes.Process(target=measure, args=arguments)
            process.start()
            process.join()
            if process.exitcode:
                print(f"K={updates} {name:18} failed")
                continue
            seconds, peak = found.get()
            print(f"K={updates} {name:18} {seconds:8.3f} s a step {peak / 2**30:7.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
