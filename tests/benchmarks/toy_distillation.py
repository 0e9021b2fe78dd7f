"""One-step students where the answer is known: which of them draws from the distribution of the data?

    python -m tests.benchmarks.toy_distillation [--seeds 0 1 2] [--steps 240] [--schedule constant]

Data are points of three numbers: given y, x = y +- 0.5 u(y) + 0.1 n, where the direction u turns with y, both signs
are as likely and n is normal. So p(x | y) has two modes and a density that can be drawn from. A ResShift chain of 15
steps is learnt from it, and distilled by the methods themselves (`stages/methods`), each for the same number of
student updates at the same batch and learning rate, with K = 5. A point is a 1x1 image: the
networks are the UNet of `stages/models/unet.py`, which there is a residual MLP with FiLM.

Printed is the energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| between answers X and the data Y given y, times
1000, mean over 32 values of y with 512 points each: 0 for equal distributions. Two draws of the data themselves
give the last line.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import torch
from torch import Tensor

from stages.diffusion.noise import Noise
from stages.methods.resshift import ResShiftConfig, ResShiftMethod
from stages.methods.rsd import RSDConfig, RSDMethod, RSDTraining
from stages.models.numerics import seeded
from stages.models.one_step import OneStepModel
from stages.models.resshift import ResShiftModel
from stages.training.ema import Ema
from stages.training.method import Batch, Method
from stages.training.schedule import learning_rate

BATCH: Final = 128
TEACHER_STEPS: Final = 1200
STEPS: Final = 240
Schedule: TypeAlias = Literal["constant", "cosine"]
AWAY, SPREAD = 0.5, 0.1
PLACES, POINTS = 32, 512
NETWORK: Final[dict[str, Any]] = {"widths": [48], "blocks": 2, "attention": False, "groups": 4}
PROCESS: Final[dict[str, Any]] = {"timesteps": 15, "kappa": 2.0, "power": 0.3, "min_noise": 0.04, "end": 0.99}
RATE: Final[dict[str, Any]] = {"batch_size": BATCH, "learning_rate": 5e-4, "ema": 0.95}
RSD: Final[dict[str, dict[str, Any]]] = {
    "VSD": {"variant": "vsd", "nodes": 1, "noise_channels": 0},
    "RSD, N = 1": {"nodes": 1},
    "RSD, N = 4": {},
}


class DrawnAtOnce(Noise):
    """The noise of a whole batch from one generator: points are too small for one each."""

    def _generator(self, purpose: str, samples: Sequence[int | str]) -> torch.Generator:
        return torch.Generator().manual_seed(int.from_bytes(self._words(purpose, samples[0])[:7], "little"))

    def integers(self, purpose: str, samples: Sequence[int | str], high: int) -> Tensor:
        return torch.randint(high, (len(samples),), generator=self._generator(purpose, samples))

    def normal(self, purpose: str, samples: Sequence[int | str], shape: Sequence[int]) -> Tensor:
        return torch.randn((len(samples), *shape), generator=self._generator(purpose, samples))


def places(count: int, generator: torch.Generator) -> Tensor:
    """y, [count, 3], uniform in [-0.5, 0.5]."""
    return torch.rand((count, 3), generator=generator) - 0.5


def data(y: Tensor, generator: torch.Generator) -> Tensor:
    """x ~ p(x | y), [B, 3]."""
    angle = math.pi * y[:, 0]
    u = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)
    sign = 2.0 * torch.randint(2, (len(y), 1), generator=generator) - 1
    return y + AWAY * sign * u + SPREAD * torch.randn(y.shape, generator=generator)


def batch_of(seed: int, number: int) -> Batch:
    """A fresh batch: z0 and z_y are the points themselves, LR is y as pixels in [0, 1]."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + number)
    y = places(BATCH, generator)
    x = data(y, generator)
    samples = tuple(range(number * BATCH, (number + 1) * BATCH))
    y, x = y[..., None, None], x[..., None, None]
    return Batch((y + 1) / 2, None, samples, (), DrawnAtOnce(seed), (x, y), number)


def train(method: Method, steps: int, seed: int) -> dict[str, Ema]:
    """What the shared loop does, without its artifacts: every phase its repeats, then the averages."""
    optimisers = {
        phase.name: torch.optim.AdamW(
            [p for name in phase.trains for p in method.networks[name].parameters()],
            betas=phase.optimiser.betas, weight_decay=0.0, fused=True,
        )
        for phase in method.phases
    }  # fmt: skip
    averages = {name: Ema(method.networks[name], decay) for name, decay in method.averaged.items()}
    drawn = 0
    for step in range(steps):
        for phase in method.phases:
            for group in optimisers[phase.name].param_groups:
                group["lr"] = learning_rate(phase.optimiser, step)
            for _ in range(phase.repeats):
                phase.losses(batch_of(seed, drawn))["loss"].backward()  # type: ignore[no-untyped-call]
                optimisers[phase.name].step()
                optimisers[phase.name].zero_grad()
                drawn += 1
        for average in averages.values():
            average.update()
    return averages


def teacher(seed: int, steps: int = TEACHER_STEPS) -> ResShiftModel:
    """A chain that has learnt p(x | y)."""
    rate = {"learning_rate": 2e-3, "schedule": "cosine", "horizon": steps, "final_learning_rate": 1e-5}
    config = ResShiftConfig(steps=steps, training={"batch_size": BATCH, "ema": 0.99, **rate})  # type: ignore[arg-type]
    with seeded(seed):
        model = ResShiftModel(scale=1, autoencoder="identity", residual=True, network=NETWORK, process=PROCESS)
    averages = train(ResShiftMethod(model, config), steps, seed)
    model.load_state_dict(averages["model"].average)
    return model


def student(taught: ResShiftModel, seed: int, steps: int, name: str, schedule: Schedule) -> OneStepModel:
    """By a variant of :data:`RSD`: the distillation loss alone, neither images nor a discriminator."""
    horizon = steps if schedule == "cosine" else None
    training = RSDTraining(**RATE, schedule=schedule, horizon=horizon)
    config = RSDConfig(steps=steps, training=training, gan=0, **RSD[name])
    with seeded(seed):
        method = RSDMethod(taught, config)
    method.student.load_state_dict(train(method, steps, 100 + seed)["student"].average)
    return method.student


@torch.no_grad()
def distance(answers: Callable[[Tensor], Tensor]) -> float:
    """Mean energy distance, times 1000, between `answers` of y [B, 3] and the data."""
    generator = torch.Generator().manual_seed(99)
    y = places(PLACES, generator).repeat_interleave(POINTS, 0)
    x, made = (points.reshape(PLACES, POINTS, 3) for points in (data(y, generator), answers(y)))

    def apart(a: Tensor, b: Tensor) -> Tensor:
        """E|A - B|; a point is not compared with itself."""
        return torch.cdist(a, b).sum((1, 2)) / (POINTS * (POINTS - (a is b)))

    return 1000 * float((2 * apart(x, made) - apart(x, x) - apart(made, made)).mean())


def sampled(model: ResShiftModel, steps: int) -> Callable[[Tensor], Tensor]:
    """The answers of a model in `steps` steps."""

    def answers(y: Tensor) -> Tensor:
        zy, source = y[..., None, None], DrawnAtOnce(5)
        planes = source.normal("planes", [0] * len(y), (model.noise_channels, 1, 1)) if model.noise_channels else None
        process = model.process.respaced(steps)
        lr = (zy + 1) / 2
        z0 = process.sample(
            zy,
            lambda z, t: model.predict_x0(z, t, lr, zy, process, planes),
            lambda k: source.normal(f"noise/{k}", [0] * len(y), (3, 1, 1)),
        )
        return z0[..., 0, 0]

    return answers


def table(
    seed: int, steps: int = STEPS, names: Sequence[str] = tuple(RSD), schedule: Schedule = "constant"
) -> dict[str, float]:
    """Every contender's distance."""
    taught = teacher(seed)
    rows = {"teacher, 15 steps": distance(sampled(taught, 15)), "teacher, 1 step": distance(sampled(taught, 1))}
    rows |= {name: distance(sampled(student(taught, seed, steps, name, schedule), 1)) for name in names}
    return {**rows, "the data again": distance(lambda y: data(y, torch.Generator().manual_seed(7)))}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="constant")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = [table(seed, asked.steps, schedule=asked.schedule) for seed in cast("list[int]", asked.seeds)]
    print("| | " + " | ".join(f"seed {seed}" for seed in asked.seeds) + " |")
    print("| --- |" + " --- |" * len(found))
    for name in found[0]:
        print(f"| {name} | " + " | ".join(f"{rows[name]:.1f}" for rows in found) + " |")


if __name__ == "__main__":
    main()
