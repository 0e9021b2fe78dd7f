"""Weights from servers: downloads that break and go on, redirects, tokens, and the hub's ids, on a local server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from pipelines.stage import StageError
from stages.ingest import download as downloading
from stages.ingest.download import download
from stages.ingest.web import Address, head
from stages.ingest.weights import ImportWeights
from stages.models.weights import read_weights
from tests.support.harness import FolderArtifact, run_stage
from tests.support.web import Site, serve

DATA = bytes(range(256)) * 4000
TOKEN = "hf_not_a_real_one"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(downloading, "PAUSE", 0.001)
    for name in ("HF_TOKEN", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve() as found:
        yield found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- one file


def test_a_broken_download_goes_on_where_it_ended(site, tmp_path):
    site.files["/m.bin"], site.cuts = DATA, [100_000, 0, 300_000]
    seen: list[tuple[int, int]] = []
    address = Address(f"{site.url}/m.bin", sha256(DATA), len(DATA))
    assert download(address, tmp_path / "m", lambda done, total: seen.append((done, total))) == sha256(DATA)
    assert (tmp_path / "m").read_bytes() == DATA
    assert site.sent("Range") == [None, "bytes=100000-", "bytes=100000-", "bytes=400000-"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("broken", ["ranges", "stamps"])
def test_a_server_that_cannot_go_on_sends_the_whole_again(site, tmp_path, broken):
    setattr(site, broken, False)
    site.files["/m.bin"], site.cuts = DATA, [100_000, 100_000]
    assert download(Address(f"{site.url}/m.bin"), tmp_path / "m") == sha256(DATA)
    assert (tmp_path / "m").read_bytes() == DATA


def test_halves_of_two_versions_are_never_joined(site, tmp_path):
    site.files["/m.bin"], site.cuts = DATA, [100_000]
    changed = DATA[::-1][:50_000]  # shorter than what is there already

    def replace(done: int, total: int) -> None:
        site.files["/m.bin"] = changed

    assert download(Address(f"{site.url}/m.bin"), tmp_path / "m", replace) == sha256(changed)


def test_what_is_never_whole_or_is_another_file_leaves_nothing(site, tmp_path):
    site.files["/m.bin"] = DATA
    for address, cuts, said in (
        (Address(f"{site.url}/m.bin"), [500] + 20 * [0], r"ended after 500 of 1024000 bytes \(5 attempts\)"),
        (Address(f"{site.url}/m.bin", "0" * 64), [], rf"expected sha256 {'0' * 64}, got {sha256(DATA)}"),
        (Address(f"{site.url}/m.bin", size=7), [], "expected 7 bytes as listed, the server sends 1024000"),
        (Address(f"{site.url}/none.bin"), [], "the server answered 404"),
    ):
        site.cuts = list(cuts)
        with pytest.raises(StageError, match=said):
            download(address, tmp_path / "m")
        assert not (tmp_path / "m").exists()


def test_a_server_that_is_busy_or_gone_is_asked_again_only_so_often(site, tmp_path):
    site.files["/m.bin"], site.refuses["/m.bin"] = DATA, 503
    with pytest.raises(StageError, match=r"answered 503 .*\(5 attempts\)"):
        download(Address(f"{site.url}/m.bin"), tmp_path / "m")
    assert len(site.asked) == 5
    site.refuses["/m.bin"] = 403
    with pytest.raises(StageError, match="403 Forbidden; it wants credentials"):
        download(Address(f"{site.url}/m.bin?key=hunter2"), tmp_path / "m")
    with pytest.raises(StageError, match="Connection refused") as caught:
        download(Address("http://127.0.0.1:9/m.bin?key=hunter2"), tmp_path / "m")
    assert "hunter2" not in str(caught.value)


def test_a_token_stays_at_its_own_server(site, tmp_path):
    with serve() as other:
        other.files["/m.bin"] = DATA
        site.redirects = {"/a": "/b", "/b": f"{other.url}/m.bin"}
        download(Address(f"{site.url}/a", token=TOKEN), tmp_path / "m")
        assert site.sent("Authorization") == [f"Bearer {TOKEN}"] * 2
        assert other.sent("Authorization") == [None]
        assert head(Address(f"{site.url}/a", token=TOKEN)).size == len(DATA)
        assert [method for method, _, _ in other.asked] == ["GET", "HEAD"]
    assert TOKEN not in repr(Address(site.url, token=TOKEN))


def test_a_redirect_never_leaves_https():
    import urllib.request

    from stages.ingest.web import _Redirects

    request = urllib.request.Request("https://host/m.bin?key=hunter2")
    with pytest.raises(StageError, match=r"https://host/m\.bin: refused to be sent on from https to http://cdn/m$"):
        _Redirects().redirect_request(request, None, 302, "", None, "http://cdn/m")


# ---------------------------------------------------------------- the stage


def brought_in(folder: Path, source: str, **config: object) -> FolderArtifact:
    return run_stage(ImportWeights, folder, {"source": source, **config}).artifacts["model"]


def weights(value: float) -> bytes:
    return save({"w": torch.full((3,), value)})


def test_an_address_and_a_file_give_the_same_artifact(site, tmp_path):
    site.files["/m.safetensors"], site.cuts = weights(1), [10]
    (tmp_path / "other.safetensors").write_bytes(weights(1))
    local = brought_in(tmp_path / "a", str(tmp_path / "other.safetensors"))
    assert brought_in(tmp_path / "b", f"{site.url}/m.safetensors").digest == local.digest
    assert brought_in(tmp_path / "c", f"{site.url}/m.safetensors", sha256=sha256(weights(1))).digest == local.digest


def test_a_pinned_address_is_not_asked_by_the_plan(site):
    config = ImportWeights.Config(source=f"{site.url}/m.pth?key=1", sha256="a" * 64)
    listings = ImportWeights.list_sources(config)
    (part,) = ImportWeights.partitions(config, {}, ImportWeights.hash_sources(config, listings))
    assert [(read.name, read.sha256) for read in part.reads] == [("m.pth", "a" * 64)]
    assert not site.asked
    moved = ImportWeights.Config(source="https://mirror/m.pth", sha256="a" * 64)
    assert ImportWeights.list_sources(moved)["source"].signature == listings["source"].signature
    site.stamps, site.files["/m.pth"] = False, DATA
    with pytest.raises(StageError, match="neither version nor size of the file; set `sha256`"):
        ImportWeights.list_sources(ImportWeights.Config(source=f"{site.url}/m.pth"))


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with the hub's interface: a tree listing, large files behind a redirect, small ones in place."""
    monkeypatch.setenv("HF_ENDPOINT", site.url + "/")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    large, small = weights(1), weights(2)
    rows = [
        {"type": "directory", "oid": "d1", "size": 0, "path": "vae"},
        {"type": "file", "oid": "f1", "size": 10, "path": "README.md"},
        {"type": "file", "oid": "f2", "size": len(large), "path": "big.safetensors",
         "lfs": {"oid": sha256(large), "size": len(large), "pointerSize": 134}},
    ]  # fmt: skip
    inside = [{"type": "file", "oid": "f3", "size": len(small), "path": "vae/small.safetensors"}]
    site.files = {
        "/api/models/org/net/tree/v1.0": json.dumps(rows).encode(),
        "/api/models/org/net/tree/v1.0/vae": json.dumps(inside).encode(),
        "/org/net/resolve/v1.0/vae/small.safetensors": small,
    }
    with serve() as cdn:
        cdn.files["/blob"] = large
        site.redirects = {"/org/net/resolve/v1.0/big.safetensors": f"{cdn.url}/blob?signature=1"}
        yield cdn


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("hf://org/net@v1.0/big.safetensors", 1),
        ("hf://org/net@v1.0", 1),
        ("hf://org/net@v1.0/vae", 2),
        ("hf://org/net@v1.0/vae/small.safetensors", 2),
    ],
)
def test_hub_ids(site, hub, tmp_path, source, value):
    artifact = brought_in(tmp_path / "run", source)
    assert read_weights(artifact.open("weights.safetensors"))["w"].tolist() == [value] * 3
    assert set(site.sent("Authorization")) == {f"Bearer {TOKEN}"}
    assert hub.sent("Authorization") == [None] * (value == 1)  # read once: the hub has told its sha256


def test_a_pinned_hub_id_is_not_asked_by_the_plan(site, hub, tmp_path):
    pin = sha256(weights(1))
    for source, pinned in (
        ("hf://org/net@v1.0/big.safetensors", pin),
        ("hf://org/net@v1.0/big.safetensors", {"big.safetensors": pin}),
        ("hf://org/net@v1.0", {"big.safetensors": pin}),
    ):
        config = ImportWeights.Config(source=source, sha256=pinned)
        ImportWeights.hash_sources(config, ImportWeights.list_sources(config))
        assert not site.asked
        brought_in(tmp_path / f"run-{len(hub.asked)}", source, sha256=pinned)
        site.asked.clear()
    with pytest.raises(StageError, match=f"expected sha256 {'b' * 64}, got {pin}"):
        brought_in(tmp_path / "wrong", "hf://org/net@v1.0/big.safetensors", sha256="b" * 64)


def test_a_hub_id_that_is_not_there_says_what_to_check(site, hub, tmp_path):
    with pytest.raises(StageError, match=r"the hub answered 404 .*revision \(main\).*with that HF_TOKEN") as caught:
        brought_in(tmp_path / "run", "hf://org/net")
    assert TOKEN not in str(caught.value)
    site.headers["link"] = '<https://hub/next?cursor=1>; rel="next"'
    with pytest.raises(StageError, match="more files than one answer holds"):
        brought_in(tmp_path / "run", "hf://org/net@v1.0")
    site.files["/api/models/org/net/tree/main"] = b"<html>"
    with pytest.raises(StageError, match=r"could not be asked: .*; with `sha256` set for every file by name"):
        brought_in(tmp_path / "run", "hf://org/net")
