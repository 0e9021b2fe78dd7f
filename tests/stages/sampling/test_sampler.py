"""Sampling in tiles: the picture of the whole image, from networks that never see more than a tile."""

from __future__ import annotations

from functools import cache

import cv2
import pytest
import torch
from torch import Tensor, nn

from stages.diffusion.noise import Noise
from stages.models.numerics import seeded
from stages.models.resshift import ResShiftModel
from stages.sampling.tiles import Tiling
from tests.support.photos import bundled


class Local(nn.Module):
    """A denoiser without normalisation that sees two latent pixels around, and the step."""

    condition_factor = 1

    def __init__(self, channels: int, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple
        self.seen: list[tuple[int, ...]] = []
        with seeded(3):
            self.one, self.two = nn.Conv2d(channels + 3, 16, 3, padding=1), nn.Conv2d(16, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape[-2:]))
        out: Tensor = self.two(torch.sin(self.one(torch.cat([x, condition], 1)) + t.reshape(-1, 1, 1, 1)))
        return out


def local_model(autoencoder: str = "space-to-depth", scale: int = 4) -> ResShiftModel:
    model = ResShiftModel(
        scale=scale, autoencoder=autoencoder, residual=True,
        network={"widths": [4], "blocks": 1, "attention": False, "groups": 4},
        process={"timesteps": 15, "kappa": 2.0, "min_noise": 0.04},
    )  # fmt: skip
    model.denoiser = Local(model.autoencoder.channels, 2)
    return model


def lr_photo(name: str = "chelsea.png", height: int = 40, width: int = 56) -> Tensor:
    rgb = cv2.cvtColor(cv2.imread(str(bundled(name))), cv2.COLOR_BGR2RGB)
    small = cv2.resize(rgb, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)[:height, :width]
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize(("autoencoder", "scale"), [("space-to-depth", 4), ("space-to-depth", 2), ("identity", 2)])
@pytest.mark.parametrize("steps", [15, 4, 1])
def test_tiles_of_a_local_network_give_the_untiled_image(autoencoder, scale, steps):
    """Two latent pixels, and two LR pixels of the bicubic kernel, are less than a quarter of the overlap."""
    model, lr = local_model(autoencoder, scale), lr_photo(height=37)
    whole = model.super_resolve(lr, steps=steps, seed=2, name="a")
    tiled = model.super_resolve(lr, steps=steps, seed=2, name="a", tile=24, overlap=16)
    assert tiled.shape == whole.shape == (3, 37 * scale, 56 * scale)
    assert whole.std() > 0.05
    assert torch.allclose(tiled, whole, atol=2e-5)


def test_chains_of_their_own_would_need_more_overlap():
    """Why the sampler blends at every step: what an apart tile does not see spreads inwards with each."""
    model, lr = local_model(), lr_photo()
    whole = model.super_resolve(lr, seed=2, name="a")
    source, tiling = Noise(2), Tiling.plan(40, 56, 2, tile=24, overlap=16)

    @torch.no_grad()
    def chain(tile):
        part = tile.of(lr[None])
        zy = model.encode_lr(part)
        z0 = model.process.sample(
            zy,
            lambda z, t: model.predict_x0(z, t, part, zy),
            lambda k: tile.of(source.normal(f"sample/{k}", ["a"], (48, 40, 56))),
        )
        return model.autoencoder.decode(z0)

    assert ((tiling.blend(chain)[0] + 1) / 2 - whole).abs().max() > 1e-3


def test_a_scale_that_shares_no_factor_with_the_network_is_padded_to_both():
    network = {"widths": [4, 4, 4], "blocks": 1, "attention": False, "groups": 4}
    process = {"timesteps": 1, "kappa": 2.0, "min_noise": 0.2}
    model = ResShiftModel(scale=3, autoencoder="identity", residual=True, network=network, process=process)
    assert model.multiple == 4
    assert model.super_resolve(lr_photo(height=13, width=18), tile=8, overlap=4).shape == (3, 39, 54)


def test_no_network_sees_more_than_a_tile(monkeypatch):
    model = local_model()
    sizes = model.denoiser.seen
    for name in ("encode", "decode"):
        plain = getattr(model.autoencoder, name)

        def watched(x: Tensor, plain=plain) -> Tensor:
            out: Tensor = plain(x)
            sizes.append(tuple(min(x.shape[i], out.shape[i]) for i in (-2, -1)))
            return out

        monkeypatch.setattr(model.autoencoder, name, watched)
    model.super_resolve(lr_photo(height=64, width=80), steps=4, tile=24, overlap=8)
    assert set(sizes) == {(24, 24)}
    assert len(sizes) == 6 * 4 * 5  # encoder, four steps, decoder


@cache
def trained() -> ResShiftModel:
    """A network with GroupNorm, so that every tile is another problem, after a few steps on another photograph."""
    with seeded(0):
        model = ResShiftModel(
            scale=4, autoencoder="space-to-depth", residual=True,
            network={"widths": [16, 16], "blocks": 1, "attention": False, "groups": 4},
            process={"timesteps": 4, "kappa": 2.0, "min_noise": 0.2},
        )  # fmt: skip
    optimiser, noise = torch.optim.AdamW(model.parameters(), 4e-3), Noise(0)
    rgb = cv2.cvtColor(cv2.imread(str(bundled("astronaut.png"))), cv2.COLOR_BGR2RGB)
    hr = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    lr = nn.functional.avg_pool2d(hr, 4)
    for step in range(60):
        samples = range(4 * step, 4 * step + 4)
        corners = [[noise.integer(side, s, 128 - 16) for side in "yx"] for s in samples]
        small = torch.stack([lr[:, y : y + 16, x : x + 16] for y, x in corners])
        large = torch.stack([hr[:, 4 * y : 4 * y + 64, 4 * x : 4 * x + 64] for y, x in corners])
        z0, zy = model.encode_pair(small, large)
        t = noise.integers("t", samples, 4)
        z_t = model.process.q_sample(z0, zy, t, noise.normal("forward", samples, z0.shape[1:]))
        loss = (model.predict_x0(z_t, t, small, zy) - z0).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def at_edges(image: Tensor, overlap: int) -> float:
    """Squared differences across the edges of tiles of 32 (LR pixels), relative to those elsewhere."""
    tiling = Tiling.plan(64, 96, 2, 32, overlap)
    energy = image.diff(dim=2).square().mean((0, 1))
    edges = {4 * end for span in tiling.columns for end in (span.start, span.stop)} - {0, 384}
    mask = torch.tensor([column + 1 in edges for column in range(len(energy))])
    return float(energy[mask].mean() / energy[~mask].mean())


def test_a_trained_network_shows_no_seam_and_without_overlap_it_does():
    model, lr = trained(), lr_photo(height=64, width=96)
    whole = model.super_resolve(lr, name="a")
    soft = model.super_resolve(lr, name="a", tile=32, overlap=16)
    cut = model.super_resolve(lr, name="a", tile=32, overlap=0)
    assert at_edges(soft, 16) == pytest.approx(at_edges(whole, 16), rel=0.03)
    assert at_edges(cut, 0) > 1.3 * at_edges(whole, 0)  # the measure finds a seam where there is one


@pytest.mark.parametrize("fix", ["wavelet", "adain"])
def test_a_colour_fix_brings_back_the_colours_of_the_lr_image(fix):
    model, lr = local_model(), lr_photo()
    tinted = model.super_resolve(lr, name="a")
    fixed = model.super_resolve(lr, name="a", colour_fix=fix)
    means = lr.mean((1, 2))
    assert (tinted.mean((1, 2)) - means).abs().max() > 0.02
    assert (fixed.mean((1, 2)) - means).abs().max() < 0.006
    tiled = model.super_resolve(lr, name="a", colour_fix=fix, tile=24, overlap=16)
    assert torch.allclose(tiled, fixed, atol=2e-5)
