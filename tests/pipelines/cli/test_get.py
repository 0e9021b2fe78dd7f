"""``sharpline get``: an artifact's files as files of one's own, complete or not there."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pipelines.artifact import Entry, Manifest
from pipelines.cli.main import main
from pipelines.errors import StoreError
from pipelines.inputs import StoredArtifact
from pipelines.lookup import Built, open_artifact
from pipelines.store.blobs import hash_file
from pipelines.store.store import Store, open_store
from tests.support.built import BuiltSpec, built_spec


@pytest.fixture(scope="module")
def spec() -> BuiltSpec:
    return built_spec()


@pytest.fixture(scope="module")
def got(spec: BuiltSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy made by the installed command."""
    folder = tmp_path_factory.mktemp("got") / "deep" / "pairs"
    done = spec("get", "spec.yaml", "pairs", folder)
    assert done.code == 0, done.err
    assert "`sha256sum -c SHA256SUMS` checks them" in done.out
    return folder


def get(spec: BuiltSpec, folder: Path) -> int:
    return main(["get", str(spec.file), "pairs", str(folder)])


def test_the_files_are_the_artifacts_and_the_sums_are_true(spec: BuiltSpec, got: Path) -> None:
    artifact = open_artifact(spec.file, "pairs")
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=got, check=True)
    for entry in artifact.manifest.entries:
        assert hash_file(got / entry.name) == (entry.sha256, entry.size)
    about = json.loads((got / "manifest.json").read_text())
    assert about["digest"] == artifact.digest == Manifest.from_json(about).digest
    names = {entry.name for entry in artifact.manifest.entries} | {"manifest.json", "SHA256SUMS"}
    assert {path.name for path in got.iterdir()} == names


def test_a_copy_can_be_edited_and_the_store_does_not_notice(spec: BuiltSpec, tmp_path: Path) -> None:
    assert get(spec, tmp_path / "mine") == 0
    artifact = open_artifact(spec.file, "pairs")
    shard = next(entry for entry in artifact.manifest.entries if entry.name.endswith(".tar"))
    copy = tmp_path / "mine" / shard.name
    assert copy.stat().st_mode & stat.S_IWUSR
    with copy.open("r+b") as file:
        file.write(b"edited")
    assert hash_file(artifact.open(shard.name))[0] == shard.sha256


def test_an_interrupted_copy_is_completed(
    spec: BuiltSpec, got: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(got, tmp_path / "part")
    shard = next(folder.glob("shard-*.tar"))
    (folder / "SHA256SUMS").unlink()
    shard.rename(folder / f".{shard.name}.partial")  # what a kill leaves
    kept = (folder / "index.parquet").stat().st_mtime_ns
    assert get(spec, folder) == 0
    assert "there already" in capsys.readouterr().out
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    assert not list(folder.glob(".*"))
    assert (folder / "index.parquet").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("name", "said"), [("notes.txt", "is no file of this artifact"), ("index.parquet", "has other bytes")]
)
def test_a_folder_that_holds_anything_else_is_refused(
    spec: BuiltSpec, tmp_path: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert get(spec, tmp_path) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("file", "is a file; name a new or empty folder"),
        ("file/below", "cannot be written: Not a directory"),
        ("/proc/none", "cannot be written: No such file or directory"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_a_place_that_takes_no_folder_is_a_usage_error(
    spec: BuiltSpec, tmp_path: Path, folder: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert get(spec, tmp_path / folder) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(tmp_path / folder) in error
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_not_built_says_what_to_run(
    spec: BuiltSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = "stages.pairs.with.seed=9"
    assert main(["get", str(spec.file), "pairs", str(tmp_path / "x"), "--set", change]) == 2
    said = capsys.readouterr().err
    assert "with.seed: 1 -> 9" in said
    assert f"`sharpline run {spec.file} -s +pairs --set {change}`" in said
    assert not (tmp_path / "x").exists()


# ---------------------------------------------------------------- an artifact that refers to another


def model(store: Store) -> StoredArtifact:
    inner = Manifest("model", {}, (_entry(store, "weights.safetensors", b"inner"),))
    store.trees.put(inner)
    outer = Manifest("model", {}, (_entry(store, "weights.safetensors", b"outer"),), {"autoencoder": inner.digest})
    return StoredArtifact(store, store.trees.put(outer), "net")


def _entry(store: Store, name: str, data: bytes) -> Entry:
    return Entry(name, *store.blobs.add_bytes(data))


def serve(artifact: StoredArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built("spec", "net", "toy", "model", "k1:0", {}, artifact, {})
    monkeypatch.setattr("pipelines.lookup.find_built", lambda *_: built)


def test_what_it_refers_to_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(model(open_store(tmp_path / "store")), monkeypatch)
    assert main(["get", "spec.yaml", "net", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/weights.safetensors").read_bytes() == b"outer"
    assert (tmp_path / "out/refs/autoencoder/weights.safetensors").read_bytes() == b"inner"
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "out", check=True)


def test_damaged_bytes_are_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = model(open_store(tmp_path / "store"))
    blob = artifact.open("weights.safetensors")
    blob.chmod(0o644)
    blob.write_bytes(b"rotten")
    serve(artifact, monkeypatch)
    assert main(["get", "spec.yaml", "net", str(tmp_path / "out")]) == StoreError.exit_code
    assert "is damaged" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*weights*"))
