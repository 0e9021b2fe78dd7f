"""``import.weights``: what it reads, that content alone is identity, and what it refuses."""

import collections
import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipelines.stage import StageError, digest
from stages.ingest.weights import ImportWeights
from stages.losses.lpips_weights import load_lpips
from stages.models.registry import load_model
from stages.models.weights import read_weights
from tests.stages.losses.test_lpips import files, pair
from tests.support.harness import FolderArtifact, run_stage


def tensors() -> dict[str, torch.Tensor]:
    return {"b.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def brought_in(folder: Path, source: Path | str, **config: object) -> FolderArtifact:
    return run_stage(ImportWeights, folder, {"source": str(source), **config}).artifacts["model"]


def partition_digest(source: Path | str, **config: object) -> str:
    """All that the key of the one partition depends on."""
    typed = ImportWeights.Config(source=str(source), **config)
    hashed = ImportWeights.hash_sources(typed, ImportWeights.list_sources(typed))
    (part,) = ImportWeights.partitions(typed, {}, hashed)
    return digest([part.id, part.params, [[read.slot, read.name, read.sha256] for read in part.reads]])


# ---------------------------------------------------------------- the artifact


def test_every_format_gives_the_same_artifact(tmp_path):
    state = tensors()
    torch.save(dict(reversed(state.items())), tmp_path / "zip.pth")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "params_ema": state, "params": {"b.weight": torch.zeros(1)}}, tmp_path / "two.ckpt")
    save_file(state, tmp_path / "safe.safetensors", metadata={"format": "pt"})
    (tmp_path / "folder").mkdir()
    for name, value in state.items():
        save_file({name: value}, tmp_path / "folder" / f"{name}.safetensors")
    torch.save({"c": torch.zeros(1)}, tmp_path / "folder" / "older.bin")  # passed over: there are safetensors
    found = {
        name: brought_in(tmp_path / f"run-{name}", tmp_path / name, entry="params_ema" if name == "two.ckpt" else None)
        for name in ("zip.pth", "old.pt", "two.ckpt", "safe.safetensors", "folder")
    }
    assert len({artifact.digest for artifact in found.values()}) == 1
    artifact = found["folder"]
    assert artifact.facets == {"role": "raw"}
    weights = read_weights(artifact.open("weights.safetensors"))
    assert weights.keys() == state.keys()
    assert all(
        torch.equal(weights[name], value) and weights[name].dtype == value.dtype for name, value in state.items()
    )
    assert artifact.manifest.entry("weights.safetensors").meta == {"tensors": 2, "parameters": 8}


def test_views_that_share_memory_are_written_out(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"tied": whole, "also": whole, "column": whole[:, 1], "turned": whole.T}, tmp_path / "m.pth")
    weights = read_weights(brought_in(tmp_path / "run", tmp_path / "m.pth").open("weights.safetensors"))
    assert torch.equal(weights["tied"], weights["also"])
    assert torch.equal(weights["turned"], whole.T)
    assert torch.equal(weights["column"], whole[:, 1])


def test_where_a_file_lies_and_when_it_was_written_is_not_identity(tmp_path):
    torch.save(tensors(), tmp_path / "m.pth")
    before = partition_digest(tmp_path / "m.pth")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "m.pth").rename(tmp_path / "elsewhere" / "m.pth")
    os.utime(moved, (1, 1))
    assert partition_digest(moved) == before == partition_digest(moved.parent)
    torch.save({"b.weight": torch.zeros(1)}, moved)
    assert partition_digest(moved) != before


def test_a_family_makes_it_a_model_that_loads(tmp_path):
    from stages.models.resshift import ResShiftModel

    constructor = {
        "scale": 2, "autoencoder": "space-to-depth", "residual": True,
        "network": {"widths": [8, 8], "blocks": 1, "attention": False, "groups": 4},
        "process": {"timesteps": 3, "kappa": 2.0, "power": 0.3, "min_noise": 0.04, "end": 0.99},
    }  # fmt: skip
    model = ResShiftModel(**constructor)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    artifact = brought_in(
        tmp_path / "run", tmp_path / "m.pth", role="sr", family="resshift", constructor=constructor, facets={"scale": 2}
    )
    assert artifact.facets == {
        "role": "sr", "family": "resshift", "scale": 2, "timesteps": 3, "latent_space": "space-to-depth-2"
    }  # fmt: skip
    lr = torch.rand(3, 8, 8)
    assert torch.equal(load_model(artifact).super_resolve(lr), model.eval().super_resolve(lr))
    with pytest.raises(ValueError, match="constructor has no meaning without `family`"):
        ImportWeights.Config(source="m.pth", constructor=constructor)
    with pytest.raises(ValueError, match="facets: role has a field of its own"):
        ImportWeights.Config(source="m.pth", facets={"role": "sr"})


def test_lpips_from_the_two_files_that_people_have(tmp_path):
    convolutions, heads = files("alex")
    (tmp_path / "lpips").mkdir()
    torch.save(collections.OrderedDict(convolutions), tmp_path / "lpips" / "alexnet-owt-7be5be79.pth")
    torch.save(heads, tmp_path / "lpips" / "alex.pth")
    artifact = brought_in(tmp_path / "run", tmp_path / "lpips", role="lpips")
    a, b = pair()
    assert torch.equal(load_lpips("alex", artifact)(a, b), load_lpips("alex", convolutions | heads)(a, b))


# ---------------------------------------------------------------- pins


def test_a_pin_is_checked(tmp_path):
    torch.save(tensors(), tmp_path / "m.pth")
    found = sha256(tmp_path / "m.pth")
    brought_in(tmp_path / "run", tmp_path / "m.pth", sha256=found)
    brought_in(tmp_path / "named", tmp_path, sha256={"m.pth": found})
    with pytest.raises(StageError, match=rf"m\.pth: expected sha256 {'0' * 64}, got {found}.*look why"):
        brought_in(tmp_path / "wrong", tmp_path / "m.pth", sha256="0" * 64)
    with pytest.raises(StageError, match=r"n\.pth: expected sha256 .*, got no such file"):
        brought_in(tmp_path / "more", tmp_path, sha256={"m.pth": found, "n.pth": found})
    save_file({"x": torch.ones(1)}, tmp_path / "n.pth")
    with pytest.raises(StageError, match=r"n\.pth: expected sha256 none \(it is not pinned\)"):
        brought_in(tmp_path / "less", tmp_path, sha256={"m.pth": found})
    with pytest.raises(StageError, match=r"pins one file and the source holds 2 \(m\.pth, n\.pth\)"):
        brought_in(tmp_path / "one", tmp_path, sha256=found)


def test_bytes_that_change_after_they_were_listed_are_refused(tmp_path, monkeypatch):
    torch.save(tensors(), tmp_path / "m.pth")
    hashing = ImportWeights.hash_sources.__func__

    def hash_then_overwrite(cls: type, *given: object) -> object:
        found = hashing(cls, *given)
        torch.save({"x": torch.ones(1)}, tmp_path / "m.pth")
        return found

    monkeypatch.setattr(ImportWeights, "hash_sources", classmethod(hash_then_overwrite))
    with pytest.raises(StageError, match=r"m\.pth changed since it was listed"):
        brought_in(tmp_path / "run", tmp_path / "m.pth")


# ---------------------------------------------------------------- what is refused


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_a_pickle_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1), "x": Payload()}, "zip.pth")
    with open("plain.pth", "wb") as file:
        pickle.dump({"x": Payload()}, file, protocol=2)
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(StageError) as caught:
            brought_in(tmp_path / f"run-{name}", tmp_path / name)
        assert "weights_only" not in str(caught.value)  # no advice to turn the protection off
        assert "holds Python objects (posix.mkdir)" in str(caught.value)
        assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("saved", "config", "said"),
    [
        ({"ema": {"w": 1}, "model": {"w": 2}, "step": 0}, {}, "set `entry` to .*; it has: ema, model"),
        ({"model": {"w": 1}, "mean": 1}, {}, "set `entry` to .*; it has: model"),
        ({"model": {"w": 1}}, {"entry": "ema"}, "has no state dict 'ema'; it has: model; change `entry`"),
        ({"w": 1}, {"entry": "ema"}, "has no state dict 'ema'; its tensors lie at the top"),
        ({"w": 1}, {"format": "safetensors"}, "format safetensors was asked for, and this is torch file"),
        ({}, {}, "holds no tensor by name"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(tmp_path, saved, config, said):
    def filled(value: object) -> object:
        return {k: filled(v) for k, v in value.items()} if isinstance(value, dict) else torch.full((1,), float(value))

    torch.save(filled(saved), tmp_path / "m.pth")
    with pytest.raises(StageError, match=said):
        brought_in(tmp_path / "run", tmp_path / "m.pth", **config)


def test_damaged_files_and_bad_places_are_named(tmp_path):
    torch.save(tensors(), tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:700])
    (tmp_path / "text.safetensors").write_text("<html>Not found</html>")
    for name, said in (("cut.pth", "is no whole torch file"), ("text.safetensors", "neither a whole safetensors file")):
        with pytest.raises(StageError, match=said):
            brought_in(tmp_path / f"run-{name}", tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for name in ("a.pth", "b.pth"):
        torch.save(tensors(), tmp_path / "twice" / name)
    for source, said in (
        (tmp_path / "none.pth", r"there is nothing; expected a file, a folder, http"),
        (tmp_path / "empty", r"none of its 0 files ends in \.safetensors, \.pth"),
        (tmp_path / "twice", r"a\.pth and b\.pth both hold b\.weight"),
        ("s3://bucket/m.pth", r"give an https address of the file \(presigned"),
        ("ftp://host/m.pth", r"is not understood; expected a file"),
        ("hf://only-one-part", r"is no hub id; expected hf://owner/name"),
        ("https://me:hunter2@host/m.pth", r"user and password in an address are not used"),
    ):
        with pytest.raises(StageError, match=said) as caught:
            brought_in(tmp_path / "run", source)
        assert "hunter2" not in str(caught.value)


def test_the_card_says_only_what_was_given(tmp_path):
    save_file(tensors(), tmp_path / "m.safetensors")
    artifact = brought_in(tmp_path / "run", tmp_path / "m.safetensors", family="vq-f4", constructor={"b": 1, "a": [2]})
    assert json.loads(artifact.read("model.json")) == {
        "schema": 1, "family": "vq-f4", "constructor": {"a": [2], "b": 1}
    }  # fmt: skip
