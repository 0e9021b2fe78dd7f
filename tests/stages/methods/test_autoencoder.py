"""train.autoencoder: two networks that train against each other, exactly resumable; its artifact is a latent space."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.artifact import Entry, Manifest
from pipelines.stage import StageError
from stages.data.opening import open_pairs
from stages.evaluation.evaluate import Evaluate
from stages.losses.combined import CombinedLoss
from stages.losses.discriminator import PatchDiscriminator
from stages.methods.autoencoder import TrainAutoencoder
from stages.methods.autoencoder_config import LOSS_FIELDS, AutoencoderConfig
from stages.methods.autoencoder_method import AutoencoderMethod
from stages.methods.resshift import TrainResShift
from stages.models.registry import build_family, load_autoencoder, trained_on
from stages.models.weights import write_weights
from stages.training import loop
from stages.training.loader import PairLoader
from stages.training.ranks import SOLO
from stages.training.reconstruction import training_images
from tests.stages.losses.test_lpips import files
from tests.support.harness import FolderArtifact, run_stage
from tests.support.states import same
from tests.support.textures import texture_pairs
from tests.support.training import context, on_ranks

VQ = {"kind": "vq", "width": 8, "multipliers": [1, 2], "blocks": 1, "groups": 4, "codes": 16}
KL = {"kind": "kl", "width": 8, "multipliers": [1, 2], "blocks": 1, "groups": 4}
SMALL = {"kind": "tiny", "width": 8, "blocks": 1, "halvings": 1}
TINY = {
    "seed": 5,
    "network": VQ,
    "losses": [{"kind": "l1", "weight": 2}],
    "discriminator": {"width": 8, "layers": 2, "learning_rate": 1e-3},
    "training": {"batch_size": 2, "learning_rate": 3e-3, "ema": 0.9},
    "data": {"patch": 16},
    "picture_every": 0,
    "validate_every": 0,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs", train=4, val=2)


def train(folder, pairs, steps, checkpoints=None, **changed):
    config = {**TINY, "steps": steps, **changed}
    return run_stage(TrainAutoencoder, folder, config, {"pairs": pairs}, checkpoints=checkpoints)


def method_of(config, seed=0):
    torch.manual_seed(seed)
    model = build_family(config.network.kind, config.network.model_dump(mode="json", exclude=LOSS_FIELDS))
    discriminator = PatchDiscriminator(width=config.discriminator.width, layers=2, norm="group")
    return AutoencoderMethod(model, discriminator, CombinedLoss(config.losses, value_range=(-1, 1)), config)


def first_batch(pairs, config, step=0):
    with PairLoader(training_images(pairs, config, 1)[0], 1, config) as loader:
        batch = loader.batch(0)
    return loop.replace(batch, step=step)


def state(checkpoints, step):
    return torch.load(checkpoints / f"{step:08d}" / "state.pt", weights_only=True)


@pytest.mark.parametrize(("kind", "millions"), [("vq", 55.322782), ("kl", 83.653863), ("tiny", 2.445063)])
def test_defaults_are_the_published_sizes(kind, millions):
    network = AutoencoderConfig(steps=1, network={"kind": kind}).network
    with torch.device("meta"):
        model = build_family(kind, network.model_dump(mode="json", exclude=LOSS_FIELDS))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1e-6)
    assert (model.factor, model.channels) == (network.factor, network.channels)
    assert AutoencoderConfig(steps=1).network.kind == "vq"


class TestTheTwoPhases:
    @pytest.mark.parametrize("network", [VQ, KL, SMALL], ids=["vq", "kl", "tiny"])
    def test_no_gradient_of_one_reaches_the_weights_of_the_other(self, pairs, network):
        config = AutoencoderConfig(**{**TINY, "network": network}, steps=1)
        method = method_of(config)
        batch = first_batch(pairs, config)
        autoencoder, discriminator = method.networks["autoencoder"], method.networks["discriminator"]
        method.generator_losses(batch)["loss"].backward()
        assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())
        assert all(p.grad is not None for p in autoencoder.parameters())
        autoencoder.zero_grad(set_to_none=True)
        method.discriminator_losses(batch)["loss"].backward()
        assert all(p.grad is None for p in autoencoder.parameters())
        assert all(p.grad is not None for p in discriminator.parameters())
        assert discriminator.main[0].weight.grad.abs().sum() > 0

    def test_the_loss_is_vqgans(self, pairs):
        """|x - x'| in [-1, 1], codes and commitment, and the critic at the weight of equation 7, image by image."""
        config = AutoencoderConfig(**{**TINY, "training": {"batch_size": 1}}, steps=1)
        method = method_of(config)
        batch = first_batch(pairs, config)
        losses = method.generator_losses(batch)
        model, image = method.model, 2 * batch.hr - 1
        answer, quantised = model(image)
        code = model.codebook.weight[quantised.codes].permute(0, 3, 1, 2)
        apart = (code - model.encode(image)).square().mean()
        reconstruction, heard = (image - answer).abs().mean(), -method.discriminator(answer).mean()
        slopes = [
            torch.autograd.grad(loss, model.decoder.head.weight, retain_graph=True)[0].norm()
            for loss in (reconstruction, heard)
        ]
        weight = slopes[0] / (slopes[1] + 1e-4)
        assert losses["adaptive_weight"].item() == pytest.approx(weight.item(), rel=1e-4)
        expected = reconstruction + 1.25 * apart + 0.75 * weight * heard
        assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
        assert losses["perplexity"] >= 1

    def test_kl_pays_for_nats_and_draws_its_noise_by_sample(self, pairs):
        config = AutoencoderConfig(**{**TINY, "network": {**KL, "divergence_weight": 0.5}}, steps=9)
        method = method_of(config)
        batch = first_batch(pairs, config)
        posterior = method.model.posterior(2 * batch.hr - 1)
        mean, variance = posterior.mean, posterior.log_variance.exp()
        nats = 0.5 * (mean**2 + variance - 1 - variance.log()).sum() / batch.hr.numel()
        with torch.no_grad():  # as in validation: nobody is heard
            losses = method.generator_losses(batch)
        assert losses["loss"].item() == pytest.approx((losses["reconstruction"] + 0.5 * nats).item(), rel=1e-5)
        assert "adversarial" not in losses
        assert torch.equal(method.answer(batch)[0], method.answer(batch)[0])
        other = loop.replace(batch, samples=(7, 8))
        assert not torch.equal(method.answer(batch)[0], method.answer(other)[0])

    def test_the_discriminator_joins_at_its_start(self, tmp_path, pairs, monkeypatch):
        seen, read = [], PairLoader.batch

        def batch(self, first):
            seen.append(first)
            return read(self, first)

        monkeypatch.setattr(PairLoader, "batch", batch)
        late = {"discriminator": {**TINY["discriminator"], "start": 3}, "log_every": 1, "checkpoint_every": 1}
        run = train(tmp_path / "a", pairs, 5, tmp_path / "c", **late)
        heard = [("autoencoder/adversarial" in row, "discriminator/loss" in row) for _, row in run.context.recorded[:5]]
        assert heard == [(False, False)] * 3 + [(True, True)] * 2
        assert seen[:7] == [0, 2, 4, 6, 8, 10, 12]  # no sample is read for nobody
        before, at, after = (state(tmp_path / "c", step) for step in (1, 3, 4))
        assert same(at["networks"]["discriminator"], before["networks"]["discriminator"])
        assert at["optimisers"]["discriminator"]["state"] == {}
        assert not same(after["networks"]["discriminator"], at["networks"]["discriminator"])
        assert {entry["step"].item() for entry in after["optimisers"]["discriminator"]["state"].values()} == {1.0}

    def test_without_a_discriminator_there_is_one_phase(self, tmp_path, pairs):
        run = train(tmp_path / "a", pairs, 1, discriminator=None)
        assert {"loss", "reconstruction", "l1"} <= set(run.context.recorded[0][1])

    def test_a_compiled_model_still_tells_its_last_layer(self, pairs):
        config = AutoencoderConfig(**{**TINY, "network": SMALL}, steps=1)
        method = method_of(config)
        batch = first_batch(pairs, config)
        plain = method.generator_losses(batch)
        method.model.compile(backend="eager")
        compiled = method.generator_losses(batch)
        assert compiled["adaptive_weight"].item() == pytest.approx(plain["adaptive_weight"].item(), rel=1e-5)


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the stage handles it."""


@pytest.mark.parametrize("kept", [2, 6])
def test_interrupted_and_straight_training_are_bit_identical(tmp_path, pairs, monkeypatch, kept):
    """Both networks and both optimisers, killed before and after the discriminator's first step."""
    late = {"discriminator": {**TINY["discriminator"], "start": 4}, "checkpoint_every": kept}
    straight = train(tmp_path / "straight", pairs, 8, tmp_path / "cs", **late)
    step_once = loop.Trainer._step

    def dying(self):
        if self.state.step == kept + 1:
            raise Killed
        step_once(self)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_step", dying)
        with pytest.raises(Killed):
            train(tmp_path / "killed", pairs, 8, tmp_path / "ck", **late)
    resumed = train(tmp_path / "resumed", pairs, 8, tmp_path / "ck", **late)
    assert resumed.artifacts["model"].digest == straight.artifacts["model"].digest
    found, expected = state(tmp_path / "ck", 8), state(tmp_path / "cs", 8)
    assert set(found["networks"]) == set(found["optimisers"]) == {"autoencoder", "discriminator"}
    for part in ("networks", "averages", "optimisers"):
        assert same(found[part], expected[part])


@pytest.mark.parametrize("network", [VQ, KL], ids=["vq", "kl"])
def test_two_ranks_train_as_one_does(tmp_path, pairs, network):
    """Shares are uneven; weights of the adversarial loss go image by image, so that only sums are rounded otherwise."""
    config = AutoencoderConfig(**{**TINY, "network": network, "training": {"batch_size": 3}}, steps=3, log_every=1)

    methods = [method_of(config) for _ in range(3)]  # here, for torch's generator belongs to all threads
    images, _ = training_images(pairs, config, 2)

    def trained(ranks):
        method, ctx = methods.pop(), context(tmp_path / f"{ranks.size}-{ranks.rank}", config)
        with PairLoader(images, 1, config, ranks) as loader:
            return loop.Trainer(method, loader, config, ctx, ranks=ranks).run(), ctx.recorded

    alone, curve = trained(SOLO)
    (one, seen), (two, _) = on_ranks(2, trained)
    for name in ("autoencoder", "discriminator"):
        assert same(one.networks[name].state_dict(), two.networks[name].state_dict())
        torch.testing.assert_close(
            one.networks[name].state_dict(), alone.networks[name].state_dict(), rtol=0, atol=5e-5
        )
    for (_, row), (_, expected) in zip(seen, curve, strict=True):
        for name in ("loss", "adaptive_weight", "gradient_norm"):
            assert row[f"autoencoder/{name}"] == pytest.approx(expected[f"autoencoder/{name}"], rel=1e-3)
        assert row["discriminator/loss"] == pytest.approx(expected["discriminator/loss"], rel=1e-3)


def test_one_batch_can_be_learnt_by_heart(tmp_path):
    two = texture_pairs(tmp_path / "pairs", train=2, val=0, hr_size=16)
    run = train(
        tmp_path / "a", two, 80, discriminator=None, data={"flip": False}, log_every=1,
        network={**VQ, "width": 16, "codes": 64}, training={"batch_size": 2, "learning_rate": 4e-3, "ema": 0.0},
    )  # fmt: skip
    l1 = [row["l1"] for _, row in run.context.recorded if "l1" in row]
    assert l1[0] > 0.15
    assert max(l1[-5:]) < l1[0] / 3


class TestTheArtifact:
    def test_it_is_a_latent_space_of_its_own_and_says_how_large_latents_are(self, tmp_path, pairs):
        run = train(tmp_path / "a", pairs, 4, network=KL)
        model, autoencoder = run.artifacts["model"], load_autoencoder(run.artifacts["model"])
        assert model.facets == {
            "role": "autoencoder", "family": "kl", "channels": 4, "factor": 2, "space": autoencoder.space
        }  # fmt: skip
        config = AutoencoderConfig(**{**TINY, "steps": 4, "network": KL})
        promised = TrainAutoencoder.outputs(config, {"pairs": pairs.facets})["model"]
        assert set(model.facets) - set(promised.facets) == {"space"}
        assert promised.facets.items() <= model.facets.items()
        images, _ = training_images(pairs, config, 2)
        with PairLoader(images, 1, config) as loader, torch.no_grad():
            latents = torch.cat([autoencoder.encode(2 * loader.batch(2 * i).hr - 1) for i in range(32)])
        assert latents.std(correction=0).item() == pytest.approx(1, rel=1e-4)
        card = json.loads(model.read("model.json"))["latent"]
        assert (card["images"], card["std"]) == (64, 1.0)
        assert card["channel_stds"] == pytest.approx(latents.std((0, 2, 3), correction=0).tolist(), rel=1e-4)
        assert trained_on(model) == set(open_pairs(pairs, split="train").images)
        assert model.facets["space"] != train(tmp_path / "b", pairs, 5, network=KL).artifacts["model"].facets["space"]

    def test_what_is_execution_does_not_change_it_and_validation_is_the_psnr_of_what_comes_back(self, tmp_path, pairs):
        plain = train(tmp_path / "a", pairs, 3)
        run = train(tmp_path / "b", pairs, 3, validate_every=3, picture_every=3, log_every=1, peak_tflops=1.0)
        assert run.artifacts["model"].digest == plain.artifacts["model"].digest
        assert {name.rpartition("/")[2] for name in run.context.images} == {"input", "reconstruction"}
        autoencoder, decibels = load_autoencoder(run.artifacts["model"]), []
        held_out = open_pairs(pairs, split="val")
        for i in range(2):
            hr = held_out.read_pair(i)[1]
            image = torch.tensor(hr / 127.5 - 1, dtype=torch.float32).permute(2, 0, 1)[None]
            with torch.no_grad():
                back = autoencoder.decode(autoencoder.encode(image))[0].permute(1, 2, 0).numpy()
            error = np.rint((back.clip(-1, 1) + 1) * 127.5) - hr
            decibels.append(10 * np.log10(255**2 / np.mean(error**2)))
        (measured,) = [row for _, row in run.context.recorded if "validation/psnr" in row]
        assert measured["validation/psnr"] == pytest.approx(np.mean(decibels), abs=1e-2)

    def test_a_teacher_trains_in_it_and_is_evaluated(self, tmp_path, pairs):
        network = {**VQ, "multipliers": [1, 2, 2]}
        autoencoder = train(tmp_path / "a", pairs, 3, network=network).artifacts["model"]
        assert json.loads(autoencoder.read("model.json"))["latent"]["codes_used"] >= 1
        config = {
            "steps": 2, "autoencoder": "artifact", "network": {"widths": [8], "blocks": 1, "groups": 4},
            "process": {"timesteps": 2, "min_noise": 0.2}, "training": {"batch_size": 2}, "picture_every": 0,
        }  # fmt: skip
        inputs = {"pairs": pairs, "autoencoder": autoencoder}
        teacher = run_stage(TrainResShift, tmp_path / "t", config, inputs).artifacts["model"]
        assert teacher.facets["latent_space"] == autoencoder.facets["space"]
        scored = run_stage(Evaluate, tmp_path / "e", {"steps": [1]}, {"pairs": pairs, "models": [teacher]})
        assert scored.artifacts


def test_lpips_is_one_of_the_losses_where_its_weights_are_connected(tmp_path, pairs):
    folder, names = tmp_path / "lpips", "weights.safetensors"
    folder.mkdir()
    convolutions, heads = files("alex")
    write_weights(folder / names, convolutions | heads)
    data = (folder / names).read_bytes()
    entry = Entry(names, hashlib.sha256(data).hexdigest(), len(data), False)
    weights = FolderArtifact("lpips", folder, Manifest("model", {"role": "lpips"}, (entry,)))
    losses = [{"kind": "l1", "weight": 2}, {"kind": "lpips", "trunk": "alex"}]
    config = {**TINY, "steps": 1, "losses": losses, "data": {"patch": 32}}
    run = run_stage(TrainAutoencoder, tmp_path / "a", config, {"pairs": pairs, "perceptual": weights})
    row = run.context.recorded[0][1]
    expected = 2 * row["autoencoder/l1"] + row["autoencoder/lpips"]
    assert row["autoencoder/reconstruction"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training": {"batch_size": 9}}, r"a batch takes 9 different images, the train split has 4"),
        ({"data": {"patch": 64}}, r"data.patch: expected at most the shortest HR side of pairs, 32, got 64"),
        ({"data": {"patch": 15}}, r"samples of 15x15 do not fit the network, which takes multiples of 2"),
        ({"discriminator": {"layers": 3}}, r"3 layers take images of at least 24 pixels a side, got 16"),
        ({"losses": [{"kind": "ms_ssim"}]}, r"losses: ms_ssim with 5 levels needs images of at least 176"),
        ({"losses": [{"kind": "lpips"}]}, r"losses: lpips needs trained weights.*inputs: \{perceptual: <stage>\}"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, pairs, changed, message):
    with pytest.raises(StageError, match=message):
        train(tmp_path / "a", pairs, 1, **changed)


def test_weights_for_no_loss_are_refused_when_the_spec_is_read():
    with pytest.raises(StageError, match="no loss is of kind lpips"):
        TrainAutoencoder.outputs(AutoencoderConfig(steps=1), {"pairs": {}, "perceptual": {"role": "lpips"}})


def test_the_last_layer_is_the_convolution_that_makes_pixels():
    for network in (VQ, KL, SMALL):
        method = method_of(AutoencoderConfig(**{**TINY, "network": network}, steps=1))
        assert isinstance(method.last_layer.layer, nn.Conv2d)
        assert method.last_layer.layer.out_channels == 3
