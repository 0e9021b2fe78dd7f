"""encode.latents: what is stored, in which bytes, what is encoded again and when it refuses."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import interpolate

from pipelines.artifact import Manifest
from pipelines.graph import build_graph
from pipelines.keys import partition_key
from pipelines.spec.load import load_spec
from pipelines.spec.problems import SpecErrors
from pipelines.stage import StageError
from stages.data.latents import LatentIndex
from stages.data.samples import SampleIndex
from stages.data.tensors import to_image
from stages.encoding.config import LatentsConfig
from stages.encoding.latents import EncodeLatents
from tests.support.autoencoders import autoencoder_artifact, tiny_vq
from tests.support.cli import Sharpline
from tests.support.harness import FolderArtifact, run_stage
from tests.support.pairs import ingest, synthesise
from tests.support.photos import copy_photos
from tests.support.textures import pairs_artifact, shrink, textures
from tests.support.workspace import Workspace


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> FolderArtifact:
    """Twelve pairs of 32 pixels in three shards."""
    folder = tmp_path_factory.mktemp("pairs")
    images = ingest(folder / "images", copy_photos(folder / "photos"), split={"val": 0.1, "test": 0})
    return synthesise(folder / "pairs", images, hr_size=32, preset="bicubic")


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory) -> FolderArtifact:
    return autoencoder_artifact(tmp_path_factory.mktemp("vq"), tiny_vq())


def encode(
    folder: Path, pairs: FolderArtifact, trained: FolderArtifact | None, reverse: bool = False, **config: Any
) -> FolderArtifact:
    inputs = {"pairs": pairs} | ({"autoencoder": trained} if trained else {})
    return run_stage(EncodeLatents, folder, config, inputs, reverse=reverse).artifacts["latents"]


def index_of(latents: FolderArtifact, pairs: FolderArtifact, split: str | None = None) -> LatentIndex:
    return LatentIndex.of_pairs(latents, SampleIndex.from_artifact(pairs, split=split).table["key"])


def test_every_sample_holds_the_latents_of_both_images_and_of_both_mirror_images(tmp_path, pairs, autoencoder):
    latents, vq = encode(tmp_path, pairs, autoencoder), tiny_vq()
    stored, cached = SampleIndex.from_artifact(pairs, split="train"), index_of(latents, pairs, "train")
    assert len(cached) == len(stored) == 8
    for i in range(len(stored)):
        lr, hr = (2 * to_image(image)[None].contiguous() - 1 for image in stored.read_pair(i))
        for mirrored in (False, True):
            if mirrored:
                lr, hr = lr.flip(-1), hr.flip(-1)
            with torch.no_grad():
                z0 = vq.encode(hr)[0]
                zy = vq.encode(interpolate(lr, size=(32, 32), mode="bicubic"))[0]
            assert torch.equal(cached.read(i, mirrored), torch.stack([z0, zy]))
    plain, mirror = cached.read(0), cached.read(0, True)
    assert not torch.allclose(plain.flip(-1), mirror, atol=1e-3), (
        "a mirrored latent is not the latent of a mirror image"
    )


def test_the_artifact_says_what_it_holds_and_any_reader_of_safetensors_opens_it(tmp_path, pairs, autoencoder):
    latents = encode(tmp_path, pairs, autoencoder, dtype="bfloat16")
    assert latents.facets == {
        "role": "latents", "space": tiny_vq().space, "channels": 3, "scale": 4, "height": 8, "width": 8,
        "dtype": "bfloat16", "mirrored": True,
    }  # fmt: skip
    assert latents.manifest.refs == {"pairs": pairs.digest, "autoencoder": autoencoder.digest}
    index, keys = index_of(latents, pairs), []
    shards = sorted(entry.name for entry in latents.manifest.entries if not entry.derived)
    assert all(name.startswith("latents-0000") for name in shards)
    for name in shards:
        with safe_open(latents.open(name), "pt") as file:
            keys += file.metadata()["keys"].split("\n")
            tensor = file.get_tensor("latents")
        assert tensor.shape[1:] == (2, 2, 3, 8, 8)
        assert tensor.dtype is torch.bfloat16
        if name == shards[0]:
            assert torch.equal(tensor[1, 1], index.read(1, True))
    assert keys == latents.table()["key"].to_pylist()
    assert sorted(keys) == sorted(SampleIndex.from_artifact(pairs).column("key"))


def test_bytes_depend_on_images_and_weights_and_on_no_order_or_number_of_workers(tmp_path, pairs, autoencoder):
    one = encode(tmp_path / "a", pairs, autoencoder)
    two = encode(tmp_path / "b", pairs, autoencoder, reverse=True, batch_size=3, loader_threads=1)
    assert one.digest == two.digest
    other = encode(tmp_path / "c", pairs, autoencoder_artifact(tmp_path / "vq", tiny_vq(1)))
    assert other.digest != one.digest
    half = encode(tmp_path / "d", pairs, autoencoder, mirrored=False, dtype="float16")
    sizes = [sum(e.size for e in a.manifest.entries if e.name.endswith(".safetensors")) for a in (one, half)]
    assert sizes[0] / sizes[1] == pytest.approx(4, rel=0.1)
    with pytest.raises(StageError, match="has no mirror images; encode with mirrored: true"):
        index_of(half, pairs).read(0, mirrored=True)


class TestRefusals:
    def test_pairs_that_are_made_on_line(self, tmp_path, pairs):
        online = FolderArtifact("p", pairs.folder, Manifest("samples", {**pairs.facets, "online": True}, ()))
        with pytest.raises(StageError, match=r"needs stored pairs: .* others in every epoch. Set online: false"):
            encode(tmp_path, online, None, autoencoder="space-to-depth")

    def test_images_of_several_sizes(self, tmp_path):
        images = ingest(tmp_path / "i", copy_photos(tmp_path / "photos", "rocket.jpg", "coins.png"))
        whole = synthesise(tmp_path / "p", images, hr_size="whole", crops=1, preset="bicubic")
        with pytest.raises(StageError, match=r"HR images of one size, .* from 384x300 to 640x424 .*hr_size: 256"):
            encode(tmp_path, whole, None, autoencoder="space-to-depth")

    def test_sizes_that_the_autoencoder_does_not_take(self, tmp_path, autoencoder):
        odd = pairs_artifact(tmp_path / "p", [(shrink(hr, 2), hr) for hr in textures(2, 18)], ["train"] * 2, scale=2)
        with pytest.raises(StageError, match=r"HR images are 18x18, and the autoencoder takes multiples of 4"):
            encode(tmp_path, odd, autoencoder)

    def test_a_foreign_pair_of_another_size_is_named(self, tmp_path):
        images = [*textures(2, 32), *textures(1, 64)]
        made = pairs_artifact(tmp_path / "p", [(shrink(hr, 4), hr) for hr in images], ["train"] * 3)
        with pytest.raises(
            StageError, match=r"[0-9a-f]{16}_0000: expected HR (32x32|64x64) and LR 4 times smaller, got"
        ):
            encode(tmp_path, made, None, autoencoder="identity")

    def test_a_damaged_shard_is_found_before_it_is_kept_for_good(self, tmp_path, autoencoder):
        made = pairs_artifact(tmp_path / "p", [(shrink(hr, 4), hr) for hr in textures(2, 32)], ["train"] * 2)
        data = bytearray((made.folder / "shard-00000.tar").read_bytes())
        data[-1] ^= 1
        (made.folder / "shard-00000.tar").write_bytes(data)
        with pytest.raises(StageError, match=r"shard-00000.tar is damaged"):
            encode(tmp_path, made, autoencoder)

    def test_a_latent_that_the_type_cannot_hold(self, tmp_path, pairs):
        loud = tiny_vq()
        loud.to_latent.weight.mul_(1e7)
        artifact = autoencoder_artifact(tmp_path / "vq", loud)
        with pytest.raises(StageError, match=r"_000\d: its latent is not finite as float16; store bfloat16 or float32"):
            encode(tmp_path, pairs, artifact, dtype="float16")

    def test_a_trained_autoencoder_that_is_not_connected_and_on_line_pairs_are_found_in_the_spec(self, tmp_path):
        work = prepared(tmp_path)
        build_graph(load_spec(work.file, []))
        with pytest.raises(SpecErrors, match="autoencoder: artifact needs one; connect it"):
            build_graph(load_spec(work.file, ["stages.latents.with.autoencoder=artifact"]))
        with pytest.raises(SpecErrors, match="a latent cache needs stored pairs"):
            build_graph(load_spec(work.file, ["stages.pairs.with.online=true"]))


def test_a_changed_shard_of_the_pairs_is_all_that_is_encoded_again(tmp_path, autoencoder):
    before, after = (
        ("coins.png", "chelsea.png", "rocket.jpg"),
        ("coins.png", "chelsea.png", "rocket.jpg", "coffee.png"),
    )

    def keys(folder: Path, photos: tuple[str, ...], trained: FolderArtifact, seed: int = 5) -> set[str]:
        images = ingest(folder / "i", copy_photos(folder / "photos", *photos))
        pairs = synthesise(folder / "p", images, hr_size=32, preset="bicubic", shards=64, seed=seed)
        parts = EncodeLatents.partitions(LatentsConfig(), {"pairs": pairs, "autoencoder": trained}, {})
        return {partition_key("family", part) for part in parts}

    three, four = keys(tmp_path / "3", before, autoencoder), keys(tmp_path / "4", after, autoencoder)
    assert (len(three), len(four), len(three & four)) == (3, 4, 3)
    assert not three & keys(tmp_path / "w", before, autoencoder_artifact(tmp_path / "vq", tiny_vq(1)))


@pytest.mark.parametrize("mirrored", [False, True])
def test_one_wrong_bit_is_found_when_its_sample_is_read_and_no_other(tmp_path, pairs, autoencoder, mirrored):
    latents = encode(tmp_path, pairs, autoencoder)
    index = index_of(latents, pairs)
    row = int(index.rows[0])
    shard = latents.open(str(index.table["shard"][row]))
    data = bytearray(shard.read_bytes())
    data[int(index.offsets[row]) + mirrored * 2 * 3 * 8 * 8 * 4 + 5] ^= 1  # of a mantissa: as good a number as before
    shard.write_bytes(data)
    key = str(index.table["key"][row])
    with pytest.raises(StageError, match=rf"the latents of {key} in {shard.name} are damaged; `sharpline repair`"):
        index.read(0, mirrored)
    index.read(0, not mirrored)
    index.read(1, mirrored)


# ---------------------------------------------------------------- in a store

SPEC = """
photos: {{uses: ingest.images, with: {{source: ./photos, split: {{val: 0, test: 0}}}}}}
pairs:
  uses: degrade.pairs
  inputs: {{images: photos}}
  with: {{preset: bicubic, hr_size: 32, crops: 3, shards: 64}}
latents:
  uses: "{uses}"
  inputs: {{pairs: pairs}}
  with: {{autoencoder: space-to-depth, batch_size: 1{more}}}
"""


def prepared(folder: Path, uses: str = "encode.latents", more: str = "") -> Workspace:
    work = Workspace(folder)
    copy_photos(folder / "photos", "coins.png", "chelsea.png", "rocket.jpg")
    work.spec(SPEC.format(uses=uses, more=more))
    return work


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_kill_9_in_the_middle_of_a_shard_loses_that_shard_and_changes_no_byte(tmp_path):
    (tmp_path / "a").mkdir()
    work = prepared(tmp_path / "a", "tests.support.dying_latents:Dying", f", folder: {tmp_path}")
    command = Sharpline(cwd=work.folder)
    arguments = ("run", "spec.yaml", "--executor", "local", "--quiet")
    process = command.start(*arguments, "--set", "stages.latents.resources.workers=1")
    assert (process.wait(120), (tmp_path / "killed").exists()) == (-signal.SIGKILL, True)
    ran = work.run()
    assert ran.status == "ok", ran.of("stage.failed")
    assert len([name for name in ran.partitions if name.startswith("latents[")]) == 2
    (tmp_path / "b").mkdir()
    straight = prepared(tmp_path / "b")
    assert straight.run().status == "ok"
    assert work.plan().stages["latents"].outputs == straight.plan().stages["latents"].outputs


def test_nothing_of_the_index_depends_on_the_machine(tmp_path, pairs, autoencoder):
    table = encode(tmp_path, pairs, autoencoder).table()
    assert table.column_names == ["key", "shard", "offset", "size", "crc32", "crc32_mirrored"]
    assert np.all(np.asarray(table["size"]) == 2 * 2 * 3 * 8 * 8 * 4)
