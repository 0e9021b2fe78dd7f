"""``degrade.pairs`` with ``online: true``: an artifact of rules, whose identity is what training would see."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from degrade.presets import load_preset, preset_names
from degrade.recipe import sample_recipe
from pipelines.keys import identity_config
from pipelines.stage import Output, StageError
from stages.data.rules import Rules
from stages.data.tables import INDEX
from stages.synthesis import online, probe
from stages.synthesis.pairs import DegradePairs
from tests.support.harness import FolderArtifact, FolderWriter, run_stage
from tests.support.pairs import SMALL, ingest, small_images, small_pairs, synthesise
from tests.support.photos import copy_photos


@pytest.fixture(scope="module")
def images() -> FolderArtifact:
    return small_images()


@pytest.fixture(scope="module")
def artifact() -> FolderArtifact:
    return small_pairs(online=True)


def digest_of(folder, images, **config):
    return synthesise(folder, images, **{"online": True, **config}).digest


FEW = 60


@pytest.fixture
def few(monkeypatch):
    """Fewer recipes to choose from, where it does not matter what the probed pairs meet: half of the time is theirs."""
    monkeypatch.setattr(probe, "DRAWN", FEW)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, images) -> str:
    """The digest of SMALL with `few`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "DRAWN", FEW)
        return digest_of(tmp_path_factory.mktemp("few"), images)


def test_no_pixel_is_stored_and_no_photograph_copied(images, artifact):
    packs = {entry.sha256 for entry in images.manifest.entries if entry.name.endswith(".tar")}
    content = [entry.name for entry in artifact.manifest.entries if not entry.derived]
    carried = {entry.sha256 for entry in artifact.manifest.entries if entry.derived and entry.name != INDEX}
    assert content == ["online.json", "probe.json"]
    assert carried == packs
    assert artifact.facets == {"role": "pairs", "scale": 4, "hr_size": 64, "online": True}
    assert Rules.of(artifact).preset["name"] == SMALL["preset"]


def test_renaming_and_repacking_photographs_changes_nothing(tmp_path, images, plain, few):
    photos = copy_photos(tmp_path / "photos")
    (photos / "coffee.png").rename(photos / "cup.png")
    Image.effect_noise((30, 70), 50).save(photos / "tiny.png")  # too small for a pair
    other = ingest(tmp_path / "run", photos, buckets=2, min_size=16)
    assert other.digest != images.digest
    assert digest_of(tmp_path / "pairs", other) == plain


@pytest.mark.parametrize(
    "changed",
    [{"seed": 6}, {"scale": 2}, {"hr_size": 128}, {"preset": "bicubic"}, {"crops": 3}, {"shards": 2}],
    ids=lambda changed: next(iter(changed)),
)
def test_what_training_would_see_is_identity(tmp_path, images, plain, few, changed):
    assert digest_of(tmp_path, images, **changed) != plain


def test_photographs_and_their_splits_are_identity(tmp_path, plain, few):
    copy_photos(tmp_path / "photos")
    moved = ingest(tmp_path / "moved", tmp_path / "photos", split={"val": 0, "test": 0.1})
    copy_photos(tmp_path / "photos", "gravel.png")
    more = ingest(tmp_path / "more", tmp_path / "photos")
    assert len({digest_of(tmp_path / "a", moved), digest_of(tmp_path / "b", more), plain}) == 3


def test_an_engine_that_makes_other_pixels_gives_another_artifact(tmp_path, images, artifact, monkeypatch):
    """Else an edit of an operator, or another OpenCV, would leave a training cached that stored pairs would redo."""
    from degrade import engine

    def brighter(image, recipe, real=engine.render):
        hr, lr = real(image, recipe)
        return hr, lr | 1

    monkeypatch.setattr(engine, "render", brighter)
    assert digest_of(tmp_path, images) != artifact.digest


RARE = {  # where the code is, and with which of its arguments it is edited
    "plateau": ("degrade.kernels", lambda _, x, y, *_others: x != y),  # 3 kernels in 100
    "gaussian": ("degrade.kernels", lambda _, x, y, *others: x != y and others[1:] > (1.0,)),
    "add_poisson": ("degrade.noise", lambda *arguments: arguments[2]),  # gray
}


@pytest.mark.parametrize("name", RARE)
def test_an_edit_of_what_is_rarely_drawn_gives_another_artifact(tmp_path, images, artifact, monkeypatch, name):
    """A pair in a hundred is enough for stored pairs to differ, so it has to be enough here."""
    owner, rarely = RARE[name]
    real = getattr(importlib.import_module(owner), name)

    def edited(*arguments):
        found = real(*arguments)
        return np.roll(found, 1, axis=0) if rarely(*arguments) else found

    monkeypatch.setattr(f"{owner}.{name}", edited)
    assert digest_of(tmp_path, images) != artifact.digest


def test_an_edit_of_what_is_drawn_gives_another_artifact(tmp_path, images, artifact, monkeypatch):
    from degrade.operators.blur import Blur

    def wider(self, stream, place, real=Blur.draw):
        drawn = real(self, stream, place)
        return drawn.model_copy(update={"beta": drawn.beta * 1.01}) if drawn.beta and drawn.beta > 3.9 else drawn

    monkeypatch.setattr(Blur, "draw", wider)
    assert digest_of(tmp_path, images) != artifact.digest


@pytest.mark.parametrize(("preset", "hr_size"), [*((name, 64) for name in preset_names()), ("real-esrgan", "whole")])
def test_the_probe_meets_every_operator_and_option(preset, hr_size):
    """Of recipes that others drew, no step, option or mode is one that no probed pair has; and they are few."""
    chosen = load_preset(preset)
    config = DegradePairs.Config(preset=preset, scale=chosen.scale or 4, hr_size=hr_size, online=True)
    probes, _ = probe.choose(config, chosen, [("ab" * 32, (150, 200)), ("cd" * 32, (90, 70))])
    met = {trait for one in probes for trait in probe._traits(one.recipe)}
    common = {"seed": 9, "image": "ef" * 32, "image_size": (150, 200), "hr_size": 64, "scale": config.scale}
    others = (sample_recipe(chosen, crop=crop, **common) for crop in range(200))
    assert {trait for recipe in others for trait in probe._traits(recipe)} <= met
    assert {op.id for op in chosen.operators()} <= {step.id for one in probes for step in one.recipe.steps}
    assert len({one.key for one in probes}) == len(probes) <= 25
    assert sum(one.recipe.hr_shape[0] > 64 for one in probes if hr_size == 64) == 0


def test_the_probe_takes_from_every_split_what_is_read_first(tmp_path, images, few, monkeypatch):
    """So whoever opens a split and reads its first pair knows whether the pixels are those that were planned."""
    monkeypatch.setattr(online, "PROBES", 1)
    artifact = synthesise(tmp_path, images, online=True)
    rows = artifact.table().to_pylist()
    firsts = {next(row["key"] for row in rows if row["split"] == split) for split in ("train", "val", "test")}
    probed = set(json.loads(artifact.read("probe.json"))["pairs"])
    assert firsts <= probed
    assert {key.partition("_")[0] for key in probed} == {key.partition("_")[0] for key in firsts}


def test_the_report_gets_pictures_and_counts(tmp_path, images, few):
    run = run_stage(DegradePairs, tmp_path, {**SMALL, "online": True}, {"images": images})
    assert run.context.recorded == [(0, {"pairs": 12, "shards": 0, "images_too_small": 0})]
    (part,) = DegradePairs.partitions(run.context.config, {"images": images}, {})
    ctx = replace(run.context, images={}, out={"pairs": FolderWriter(tmp_path / "probe", Output("samples"))})
    DegradePairs().run_partition(ctx, part)
    keys = {name.partition("/")[0] for name in ctx.images}
    assert len(keys) == online.PICTURES
    assert set(ctx.images) == {f"{key}/{what}" for key in keys for what in ("lr", "hr")}


def test_a_presets_file_is_not_needed_where_the_pairs_are_made(tmp_path, images, plain, few, monkeypatch):
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps(load_preset("real-esrgan").model_dump(mode="json")))
    planned = DegradePairs.partitions

    def on_the_driver(cls, config, inputs, sources):
        parts = planned(config, inputs, sources)
        own.unlink()
        return parts

    monkeypatch.setattr(DegradePairs, "partitions", classmethod(on_the_driver))
    assert digest_of(tmp_path / "pairs", images, preset=str(own)) == plain


def test_small_photographs_are_left_out_or_refused_as_ever(tmp_path, images, few):
    config = {**SMALL, "hr_size": 304, "crops": 1, "online": True}
    run = run_stage(DegradePairs, tmp_path, config, {"images": images})
    assert run.context.recorded[-1][1] == {"pairs": 4, "shards": 0, "images_too_small": 2}
    with pytest.raises(StageError, match="2 images have a side under hr_size 304"):
        DegradePairs.partitions(DegradePairs.Config(**config, on_small="fail"), {"images": images}, {})


def test_a_photograph_that_gives_no_pair_is_named(tmp_path, images, few):
    ctx = run_stage(DegradePairs, tmp_path, {**SMALL, "online": True}, {"images": images}).context
    (part,) = DegradePairs.partitions(ctx.config, {"images": images}, {})
    ctx.read = lambda _: bytes(100)
    with pytest.raises(StageError, match=rf"image {part.reads[0].name} \(pack-\d\d.tar\) gave no pair: cannot be dec"):
        DegradePairs().run_partition(ctx, part)


def test_keys_know_of_online_only_when_it_is_on():
    off, on = (identity_config(DegradePairs, DegradePairs.Config(online=value)) for value in (False, True))
    assert "online" not in off
    assert on == {**off, "online": True}


def test_lossy_encodings_have_no_on_line_meaning():
    with pytest.raises(ValueError, match=r"encoding.lr loses detail.*Leave `encoding` out"):
        DegradePairs.Config(online=True, encoding={"lr": "jpeg"})
    assert DegradePairs.Config(online=True, encoding={"hr": "webp"}).online
