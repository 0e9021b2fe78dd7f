"""Edge-SD-SR's training stages: one loss, exact resume of each, what leaves, what the next one needs, refusals."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.functional import interpolate

from pipelines.artifact import Manifest
from pipelines.stage import Output, StageError
from stages.diffusion.noise import Noise
from stages.encoding.latents import EncodeLatents
from stages.encoding.one_step import EncodeOneStep
from stages.evaluation.evaluate import Evaluate
from stages.methods.edge_config import EdgeJointConfig, EdgeUNetConfig
from stages.methods.edge_decoder import TrainEdgeDecoder
from stages.methods.edge_joint import TrainEdgeJoint
from stages.methods.edge_method import EdgeMethod
from stages.methods.edge_unet import TrainEdgeUNet
from stages.models.edge.config import EdgeConfig
from stages.models.edge.model import EdgeModel
from stages.models.edge.slicing import their_name
from stages.models.edge.unet import EdgeUNet
from stages.models.numerics import numerics
from stages.models.registry import load_model, trained_on
from stages.models.tiny import TinyAutoencoder
from stages.models.weights import read_weights, write_weights
from stages.training import update
from stages.training.method import Batch
from tests.support.autoencoders import autoencoder_artifact, tiny_vq
from tests.support.distillation import restless, small_teacher
from tests.support.edge import DECODER, JOINT, NETWORK, UNET, edge
from tests.support.harness import FolderArtifact, FolderWriter, run_stage
from tests.support.states import same
from tests.support.textures import texture_pairs

IN_VQ = {**UNET, "autoencoder": "artifact"}
OWN_ENCODER = {**JOINT, "encoder": {"widths": [8], "blocks": [1]}}
OWN_DECODER = {**DECODER, "decoder": {"width": 8, "blocks": 1}}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return texture_pairs(tmp_path_factory.mktemp("data") / "pairs")


@pytest.fixture(scope="module")
def vq(tmp_path_factory):
    return autoencoder_artifact(tmp_path_factory.mktemp("vq"), tiny_vq())


@pytest.fixture(scope="module")
def chain(tmp_path_factory, pairs):
    """UNet and joint model in folded pixels, of two steps each."""
    folder = tmp_path_factory.mktemp("chain")
    unet = edge(TrainEdgeUNet, folder / "unet", UNET, 2, pairs=pairs).artifacts["model"]
    joint = edge(TrainEdgeJoint, folder / "joint", JOINT, 2, pairs=pairs, model=unet).artifacts["model"]
    return {"unet": unet, "joint": joint}


@pytest.fixture(scope="module")
def in_vq(tmp_path_factory, pairs, vq):
    """The same in the latents of a trained autoencoder."""
    folder = tmp_path_factory.mktemp("in_vq")
    unet = edge(TrainEdgeUNet, folder / "unet", IN_VQ, 2, pairs=pairs, autoencoder=vq).artifacts["model"]
    joint = edge(TrainEdgeJoint, folder / "joint", OWN_ENCODER, 2, pairs=pairs, model=unet).artifacts["model"]
    return {"unet": unet, "joint": joint}


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the stage handles it."""


@pytest.mark.parametrize("stage", [TrainEdgeUNet, TrainEdgeJoint, TrainEdgeDecoder], ids=lambda stage: stage.name)
def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_bytes(tmp_path, pairs, chain, monkeypatch, stage):
    config, inputs = {
        "unet": (UNET, {}),
        "joint": (JOINT, {"model": chain["unet"]}),
        "whole": (DECODER, {"model": chain["joint"]}),
    }[stage.part]
    inputs["pairs"] = pairs
    straight = edge(stage, tmp_path / "straight", config, 5, tmp_path / "cs", **inputs).artifacts["model"]
    apply = update.Updater.update
    last = {"whole": "discriminator"}.get(stage.part, "model")

    def dying(self, phase, batch):
        if self.state.step == 3 and phase.name == last:
            raise Killed
        return apply(self, phase, batch)

    with monkeypatch.context() as patched:
        patched.setattr(update.Updater, "update", dying)
        with pytest.raises(Killed):
            edge(stage, tmp_path / "killed", {**config, "checkpoint_every": 2}, 5, tmp_path / "ck", **inputs)
    assert [folder.name for folder in (tmp_path / "ck").iterdir()] == ["00000002"]
    watched = {**config, "checkpoint_every": 2, "validate_every": 2, "picture_every": 2, "log_every": 1}
    resumed = edge(stage, tmp_path / "resumed", watched, 5, tmp_path / "ck", **inputs).artifacts["model"]
    assert resumed.digest == straight.digest
    states = [torch.load(tmp_path / c / "00000005" / "state.pt", weights_only=True) for c in ("cs", "ck")]
    assert same(*states)
    left = read_weights(straight.open("weights.safetensors"))
    averages = states[0]["averages"]
    if stage is TrainEdgeDecoder:
        averages = {"decoder": {f"decoder.{name}": value for name, value in averages["decoder"].items()}}
    (average,) = averages.values()
    assert all(torch.equal(left[name], value) for name, value in average.items())


def tiny_model(seed=1, **changed):
    settings = {
        "scale": 4, "latent": {"channels": 48, "factor": 4}, "network": NETWORK, "encoder": JOINT["encoder"],
        "decoder": None, **changed,
    }  # fmt: skip
    model = EdgeModel(**EdgeConfig(**settings).model_dump(mode="json"), autoencoder="space-to-depth")
    restless(model)
    return model


def batch(step=0, count=3):
    torch.manual_seed(0)
    lr, hr = torch.rand(count, 3, 4, 4), torch.rand(count, 3, 16, 16)
    return Batch(lr, hr, tuple(range(count)), tuple("abc"[:count]), Noise(7), step=step)


def test_the_loss_is_the_distance_of_the_answer_from_hr_at_steps_drawn_by_the_bias():
    """z_t by the formula of the mean `residual-shift`, t by floor(T u^(1 / (1 + b))), written out again."""
    process = {"mean": "residual-shift", "timesteps": 10, "k": 0.5}
    model, at = tiny_model(process=process), batch(step=5)
    schedule = {"kind": "biased", "first": 3.0, "last": 1.0, "over": 20}
    config = EdgeJointConfig(steps=1, schedule=schedule)
    found = EdgeMethod(model, config).losses(at)
    assert found["schedule/exponent"].item() == pytest.approx(2.5)  # a quarter of the way from 3 to 1
    u = at.noise.integers("t", at.samples, 1 << 53).double() / (1 << 53)
    t = (10 * u ** (1 / 3.5)).long()
    assert found["schedule/t"].item() == pytest.approx(float(t.double().mean()) / 9)
    z_h, z_l = model.encode_hr(at.hr), model.encode_lr(at.lr)
    eta = torch.tensor([root**2 for root in model.process.noise_part])[t][:, None, None, None]
    z_t = z_h + eta * (z_l - z_h) + 0.5 * eta.sqrt() * at.noise.normal("forward", at.samples, z_h.shape[1:])
    expected = (model.answer(z_t, t, z_l) - z_h).square().mean()
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    first = model.encoder.layers[0].weight  # the gradient comes by z_l beside z_t, and by z_t
    gradients = [torch.autograd.grad(loss, first)[0] for loss in (found["loss"], expected)]
    torch.testing.assert_close(*gradients)


def test_micro_batches_add_up():
    method, whole = EdgeMethod(tiny_model(), EdgeJointConfig(steps=1)), batch()
    parts = [method.losses(whole.part(i, i + 1))["loss"].item() for i in range(3)]
    assert sum(parts) / 3 == pytest.approx(method.losses(whole)["loss"].item(), rel=1e-5)


class TestTeacher:
    def test_a_smaller_scale_teaches_from_hr_that_is_shrunk_less(self, pairs, tmp_path, vq):
        """Its answer at the same part of its own, shorter process: written out again."""
        from stages.methods.edge_teacher import EdgeTeacher

        held = tiny_vq()
        settings = EdgeConfig(
            scale=2, latent={"channels": 3, "factor": 4}, network=NETWORK, encoder=None, decoder=None,
            process={"timesteps": 5},
        )  # fmt: skip
        with numerics(1, reproducible=True):
            teacher = EdgeModel(**settings.model_dump(mode="json"), autoencoder=held)
            restless(teacher)
            at = batch()
            z_h = held.encode(2 * at.hr - 1)
            noise = torch.randn(z_h.shape)
            found = EdgeTeacher(teacher, 4, 1.0).answer(at, z_h, torch.tensor([0.0, 0.5, 1.0]).double(), noise)
            lr = interpolate(at.hr, size=(8, 8), mode="bicubic", antialias=True).clamp(0, 1)
            z_l = teacher.encode_lr(lr)
            t = torch.tensor([0, 2, 4])
            z_t = teacher.process.q_sample(z_h, z_l, t, noise)
            torch.testing.assert_close(found, teacher.answer(z_t, t, z_l))

    def test_weight_one_listens_to_the_teacher_alone_and_a_resshift_model_can_be_one(self, tmp_path, pairs):
        _, taught = small_teacher(tmp_path)
        changed = {**UNET, "teacher": {"weight": 1.0}, "log_every": 1}
        run = edge(TrainEdgeUNet, tmp_path / "a", changed, 1, pairs=pairs, teacher=taught)
        seen = run.context.recorded[0][1]
        assert seen["loss"] == seen["teacher"] != seen["hr"]
        assert trained_on(run.artifacts["model"]) >= trained_on(taught)


class TestWhatLeaves:
    def test_every_stage_leaves_a_model_that_evaluates_in_one_evaluation(self, tmp_path, pairs, chain):
        whole = edge(TrainEdgeDecoder, tmp_path / "d", DECODER, 2, pairs=pairs, model=chain["joint"])
        models = [chain["unet"], chain["joint"], whole.artifacts["model"]]
        assert [model.facets["part"] for model in models] == ["unet", "joint", "whole"]
        assert {model.facets["latent_space"] for model in models} == {"space-to-depth-4"}
        scores = run_stage(Evaluate, tmp_path / "s", {"max_images": 1}, {"pairs": pairs, "models": models})
        rows = json.loads(scores.artifacts["metrics"].read("metrics.json"))["models"]
        assert sorted(row.get("evaluations", 0) for row in rows.values()) == [0, 1, 1, 1]

    def test_only_the_last_needs_no_autoencoder(self, tmp_path, pairs, vq, in_vq):
        run = edge(TrainEdgeDecoder, tmp_path / "d", OWN_DECODER, 2, pairs=pairs, model=in_vq["joint"])
        whole = run.artifacts["model"]
        assert [dict(model.manifest.refs) for model in (in_vq["unet"], in_vq["joint"], whole)] == [
            {"autoencoder": vq.digest}, {"autoencoder": vq.digest}, {},
        ]  # fmt: skip
        assert whole.facets["latent_space"] == tiny_vq().space
        before, after = load_model(in_vq["joint"]), load_model(whole)
        for part in ("encoder", "network"):
            assert same(getattr(before, part).state_dict(), getattr(after, part).state_dict())
        assert after.super_resolve(torch.rand(3, 5, 6)).shape == (3, 20, 24)

    def test_a_shared_encoder_stays_that_of_the_autoencoder(self, tmp_path, pairs, vq, in_vq):
        run = edge(
            TrainEdgeJoint, tmp_path / "j", {**JOINT, "lr_encoding": "shared"}, 1, pairs=pairs, model=in_vq["unet"]
        )
        model = run.artifacts["model"]
        whole = edge(TrainEdgeDecoder, tmp_path / "d", OWN_DECODER, 1, pairs=pairs, model=model).artifacts["model"]
        assert load_model(whole).encoder is None
        assert whole.manifest.refs == {"autoencoder": vq.digest}


class TestInitial:
    """At the least learning rate there is, so that what a training begins as is what leaves."""

    STILL = {"batch_size": 2, "learning_rate": 1e-12, "ema": 0.0}

    def test_a_decoder_begins_as_that_of_a_tiny_autoencoder(self, tmp_path, pairs, in_vq):
        tiny = TinyAutoencoder(channels=3, width=8, blocks=1, halvings=2)
        restless(tiny)
        initial = autoencoder_artifact(tmp_path / "tiny", tiny)
        still = {**OWN_DECODER, "training": self.STILL, "discriminator": None}
        inputs = {"pairs": pairs, "model": in_vq["joint"], "initial": initial}
        whole = load_model(edge(TrainEdgeDecoder, tmp_path / "a", still, 1, **inputs).artifacts["model"])
        z = torch.randn(1, 3, 4, 4)
        torch.testing.assert_close(whole.decode(z), tiny.decode(z))
        wider = {**still, "decoder": {"width": 12, "blocks": 1}}
        with pytest.raises(StageError, match="its decoder is not of the shape of `decoder`"):
            edge(TrainEdgeDecoder, tmp_path / "b", wider, 1, **inputs)

    def test_a_unet_begins_as_the_first_channels_of_stable_diffusions(self, tmp_path, pairs, vq):
        wide = EdgeUNet(3, **{**NETWORK, "widths": [16], "head_width": 16, "embedding": 16})
        theirs = {their_name(name): value + 0.1 for name, value in wide.state_dict().items()}
        theirs["conv_in.weight"] = theirs["conv_in.weight"][:, :3]  # it is not given the LR latent
        writer = FolderWriter(tmp_path / "sd", Output("model", "", {"role": "unet"}))
        write_weights(writer.path("weights.safetensors"), theirs)
        initial = FolderArtifact("sd", tmp_path / "sd", writer.manifest())
        inputs = {"pairs": pairs, "autoencoder": vq, "initial": initial}
        with pytest.raises(StageError, match="residual: Stable Diffusion's UNet answers v or noise"):
            edge(TrainEdgeUNet, tmp_path / "a", IN_VQ, 1, **inputs)
        still = {**IN_VQ, "residual": False, "process": {"prediction": "v"}, "training": self.STILL}
        network = load_model(edge(TrainEdgeUNet, tmp_path / "b", still, 1, **inputs).artifacts["model"]).network
        torch.testing.assert_close(network.stem.weight[:, :3], theirs["conv_in.weight"][:8])
        torch.testing.assert_close(network.head.weight, theirs["conv_out.weight"][:, :8])


class TestCaches:
    def test_latents_from_a_cache_train_to_the_same_bytes_as_without(self, tmp_path, pairs, vq, in_vq):
        cache = run_stage(EncodeLatents, tmp_path / "c", {}, {"pairs": pairs, "autoencoder": vq}).artifacts["latents"]
        whole = {**IN_VQ, "data": {}}
        live = edge(TrainEdgeUNet, tmp_path / "a", whole, 3, pairs=pairs, autoencoder=vq)
        read = edge(TrainEdgeUNet, tmp_path / "b", whole, 3, pairs=pairs, autoencoder=vq, latents=cache)
        assert live.artifacts["model"].digest == read.artifacts["model"].digest
        whole = {**OWN_ENCODER, "data": {}}
        live = edge(TrainEdgeJoint, tmp_path / "d", whole, 3, pairs=pairs, model=in_vq["unet"])
        read = edge(TrainEdgeJoint, tmp_path / "e", whole, 3, pairs=pairs, model=in_vq["unet"], latents=cache)
        assert live.artifacts["model"].digest == read.artifacts["model"].digest

    def test_a_decoder_learns_from_cached_answers_what_it_learns_from_live_ones(self, tmp_path, pairs, vq):
        config = {**IN_VQ, "process": {"inference_k": 0.0}}
        unet = edge(TrainEdgeUNet, tmp_path / "u", config, 2, pairs=pairs, autoencoder=vq).artifacts["model"]
        cache = run_stage(EncodeOneStep, tmp_path / "c", {}, {"pairs": pairs, "model": unet}).artifacts["latents"]
        whole = {**OWN_DECODER, "data": {}}
        live = edge(TrainEdgeDecoder, tmp_path / "a", whole, 3, pairs=pairs, model=unet)
        read = edge(TrainEdgeDecoder, tmp_path / "b", whole, 3, pairs=pairs, model=unet, latents=cache)
        assert live.artifacts["model"].digest == read.artifacts["model"].digest


class TestRefusals:
    def refused(self, tmp_path, message, stage, config, **inputs):
        with pytest.raises(StageError, match=message):
            edge(stage, tmp_path / "refused", config, 1, **inputs)

    def test_another_scale(self, tmp_path, chain):
        other = texture_pairs(tmp_path / "pairs", scale=2)
        for stage, config, model in ((TrainEdgeJoint, JOINT, "unet"), (TrainEdgeDecoder, DECODER, "joint")):
            self.refused(
                tmp_path / model, "the pairs are of scale 2, the model enlarges by 4", stage, config, pairs=other,
                model=chain[model],
            )  # fmt: skip

    def test_a_cache_of_another_space(self, tmp_path, pairs, chain, vq):
        cache = run_stage(EncodeLatents, tmp_path / "c", {}, {"pairs": pairs, "autoencoder": vq}).artifacts["latents"]
        message = "the input latents has space 'vq-f4c3-.*', and this training 'space-to-depth-4'"
        config = {**JOINT, "data": {}}
        self.refused(tmp_path, message, TrainEdgeJoint, config, pairs=pairs, model=chain["unet"], latents=cache)

    def test_answers_of_another_model(self, tmp_path, pairs, chain):
        cache = run_stage(EncodeOneStep, tmp_path / "c", {}, {"pairs": pairs, "model": chain["unet"]})
        answers, config = cache.artifacts["latents"], {**DECODER, "data": {}}
        message = r"its latents are answers of the model .* connect the stage that encodes with this model"
        self.refused(tmp_path, message, TrainEdgeDecoder, config, pairs=pairs, model=chain["joint"], latents=answers)

    def test_a_model_that_has_a_decoder(self, tmp_path, pairs, chain):
        whole = chain["joint"]
        facets = {**whole.facets, "part": "whole"}
        whole = FolderArtifact("w", whole.folder, Manifest("model", facets, whole.manifest.entries))
        self.refused(tmp_path, "has a decoder of its own already", TrainEdgeDecoder, DECODER, pairs=pairs, model=whole)

    def test_teachers_that_do_not_fit(self, tmp_path, pairs, in_vq):
        other = in_vq["unet"]
        self.refused(tmp_path / "a", "belong together", TrainEdgeUNet, UNET, pairs=pairs, teacher=other)
        config = {**UNET, "teacher": {}}
        self.refused(tmp_path / "b", "belong together", TrainEdgeUNet, config, pairs=pairs)
        self.refused(
            tmp_path / "c", "its latents are those of vq-f4c3-.*, this training's of space-to-depth-4", TrainEdgeUNet,
            config, pairs=pairs, teacher=other,
        )  # fmt: skip

    def test_a_residual_of_v(self):
        with pytest.raises(ValueError, match="residual: adds z_l to an answer that is z_h"):
            EdgeUNetConfig(steps=1, process={"prediction": "v"})
