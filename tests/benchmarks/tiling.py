"""Seams of tiled sampling on a real photograph, by the way in which tiles are joined.

    python -m tests.benchmarks.tiling

Trains small ResShift networks of four and of fifteen steps on one photograph, about ten seconds each, enlarges another
in tiles, and prints Markdown tables. The networks have GroupNorm and attention, so that no tile agrees exactly with the
whole image. `seam` is the mean squared difference of neighbouring pixels across tile edges over that everywhere else,
divided by the same number of the image sampled whole: 1 is no seam. `PSNR to whole` tells how far tiles change the
picture at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import torch
from torch import Tensor

from stages.diffusion.noise import Noise
from stages.models.numerics import seeded
from stages.models.resshift import ResShiftModel
from stages.sampling.tiles import Tile, Tiling
from tests.support.photos import bundled

TILE, SEED, NAME = 32, 0, "photo"


def pair(name: str) -> tuple[Tensor, Tensor]:
    """(lr, hr) of a bundled photograph in [0, 1], at x4 by area."""
    hr = cv2.cvtColor(cv2.imread(str(bundled(name))), cv2.COLOR_BGR2RGB)
    hr = hr[: hr.shape[0] // 16 * 16, : hr.shape[1] // 16 * 16]
    lr = cv2.resize(hr, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return tuple(torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (lr, hr))  # type: ignore[return-value]


def trained(steps: int, timesteps: int, min_noise: float) -> ResShiftModel:
    """A small network that has learned from one photograph."""
    with seeded(SEED):
        model = ResShiftModel(
            scale=4, autoencoder="space-to-depth", residual=True,
            network={"widths": [32, 32], "blocks": 1, "attention": True, "groups": 8},
            process={"timesteps": timesteps, "kappa": 2.0, "min_noise": min_noise},
        )  # fmt: skip
    optimiser, noise = torch.optim.AdamW(model.parameters(), 2e-3), Noise(SEED)
    lr, hr = pair("astronaut.png")
    for step in range(steps):
        samples = range(step * 8, step * 8 + 8)
        corners = [
            [noise.integer(side, s, size - 16) for side, size in zip("yx", lr.shape[1:], strict=True)] for s in samples
        ]
        small = torch.stack([lr[:, y : y + 16, x : x + 16] for y, x in corners])
        large = torch.stack([hr[:, 4 * y : 4 * y + 64, 4 * x : 4 * x + 64] for y, x in corners])
        z0, zy = model.encode_pair(small, large)
        t = noise.integers("t", samples, timesteps)
        z_t = model.process.q_sample(z0, zy, t, noise.normal("forward", samples, z0.shape[1:]))
        loss = (model.predict_x0(z_t, t, small, zy) - z0).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def apart(model: ResShiftModel, lr: Tensor, tiling: Tiling, noise: Callable[[Tile, int], Tensor]) -> Tensor:
    """Every tile runs a chain of its own with `noise(tile, step)`, and the decoded tiles are joined."""

    def chain(tile: Tile) -> Tensor:
        part = tile.of(lr[None])
        zy = model.encode_lr(part)
        z0 = model.process.sample(zy, lambda z, t: model.predict_x0(z, t, part, zy), lambda k: noise(tile, k))
        return model.autoencoder.decode(z0)

    return ((tiling.blend(chain)[0] + 1) / 2).clamp(0, 1)


def edge_energy(image: Tensor, tiling: Tiling) -> float:
    """Mean squared difference across the edges of tiles, over that everywhere else."""
    at, elsewhere = [], []
    for axis, parts in ((1, tiling.rows), (2, tiling.columns)):
        energy = image.diff(dim=axis).square().mean(0).mean(2 - axis)
        edges = {4 * end for span in parts for end in (span.start, span.stop)} - {0, image.shape[axis]}
        mask = torch.tensor([i + 1 in edges for i in range(len(energy))])
        at.append(energy[mask])
        elsewhere.append(energy[~mask])
    return float(torch.cat(at).mean() / torch.cat(elsewhere).mean())


def psnr(one: Tensor, other: Tensor) -> float:
    return -10 * math.log10(float((one - other).square().mean()))


def measure(timesteps: int, min_noise: float, overlap: int, training_steps: int = 300) -> None:
    """Print the table of one process and overlap."""
    model = trained(training_steps, timesteps, min_noise)
    lr, hr = pair("chelsea.png")
    lr, hr = lr[:, :64, :96], hr[:, :256, :384]
    whole = model.super_resolve(lr, seed=SEED, name=NAME)
    source = Noise(SEED)
    field = {k: source.normal(f"sample/{k}", [NAME], (48, *lr.shape[1:])) for k in range(1, timesteps + 1)}

    def shared(tile: Tile, k: int) -> Tensor:
        return tile.of(field[k])

    def own(tile: Tile, k: int) -> Tensor:
        shape = (48, tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start)
        return source.normal(f"sample/{k}", [f"{tile.rows.start},{tile.columns.start}"], shape)

    cut, soft = (Tiling.plan(*lr.shape[1:], model.multiple, TILE, shared_pixels) for shared_pixels in (0, overlap))
    rows = {
        "the whole image": (soft, whole),
        "cut, noise of their own": (cut, apart(model, lr, cut, own)),
        "cut, one noise field": (cut, apart(model, lr, cut, shared)),
        "decoded tiles blended, noise of their own": (soft, apart(model, lr, soft, own)),
        "decoded tiles blended, one noise field": (soft, apart(model, lr, soft, shared)),
        "z0 blended at every step, one noise field": (
            soft, model.super_resolve(lr, seed=SEED, name=NAME, tile=TILE, overlap=overlap)
        ),
    }  # fmt: skip
    print(f"\n{timesteps} steps, tiles of {TILE} LR pixels, overlap {overlap}\n")
    print("| tiles | seam | PSNR to whole | PSNR to HR |\n| --- | --- | --- | --- |")
    for name, (tiling, image) in rows.items():
        seam = edge_energy(image, tiling) / edge_energy(whole, tiling)
        same = "" if image is whole else f"{psnr(image, whole):.2f} dB"
        print(f"| {name} | {seam:.3f} | {same} | {psnr(image, hr):.2f} dB |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    measure(4, 0.2, 16)
    measure(15, 0.04, 8)


if __name__ == "__main__":
    main()
