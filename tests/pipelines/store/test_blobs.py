"""Blobs and trees: bytes by their sha256, artifacts by their digest."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.artifact import Entry, Manifest
from pipelines.errors import NewerSchema, StoreError
from pipelines.store.cache import cache_folder
from pipelines.store.store import Store


def test_blobs_are_named_by_their_content(any_store: Store, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "file").write_bytes(data)
    sha = hashlib.sha256(data).hexdigest()
    assert not any_store.blobs.has(sha)
    assert any_store.blobs.add_file(tmp_path / "file") == (sha, 100_000)
    assert not (tmp_path / "file").exists()
    assert any_store.blobs.add_bytes(data) == (sha, 100_000)
    (tmp_path / "again").write_bytes(data)
    assert any_store.blobs.add_file(tmp_path / "again") == (sha, 100_000)
    assert not (tmp_path / "again").exists()
    assert [info.key for info in any_store.objects.list("blobs")] == [f"blobs/{sha[:2]}/{sha}"]


def test_blobs_are_read_whole_in_ranges_and_as_files(any_store: Store) -> None:
    data = os.urandom(5000)
    sha, _ = any_store.blobs.add_bytes(data)
    for _ in range(2):  # the second time a remote blob comes from the cache
        assert any_store.blobs.read(sha) == data
        assert any_store.blobs.read(sha, 100) == data[100:]
        assert any_store.blobs.read(sha, 4990, 100) == data[4990:]
        assert any_store.blobs.read(sha, 6000, 10) == b""
        path = any_store.blobs.open(sha)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o222 == 0


def test_a_local_blob_is_opened_in_place(store: Store) -> None:
    sha, _ = store.blobs.add_bytes(b"x")
    assert store.blobs.open(sha) == store.objects.local_path(f"blobs/{sha[:2]}/{sha}")


def test_a_remote_blob_is_fetched_once_and_verified(s3_store: Store, tmp_path: Path) -> None:
    sha, _ = s3_store.blobs.add_bytes(b"content")
    path = s3_store.blobs.open(sha)
    assert tmp_path / "cache" in path.parents
    s3_store.objects.delete(f"blobs/{sha[:2]}/{sha}")
    assert s3_store.blobs.open(sha) == path
    wrong = "0" * 64
    s3_store.objects.put(f"blobs/00/{wrong}", b"not what the name says")
    with pytest.raises(StoreError, match="damaged"):
        s3_store.blobs.open(wrong)
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_what_is_missing_is_named(any_store: Store) -> None:
    sha, _ = any_store.blobs.add_bytes(b"here")
    gone = "1" * 64
    assert any_store.blobs.missing([sha, gone, gone]) == {gone}
    for use in (any_store.blobs.open, any_store.blobs.read):
        with pytest.raises(StoreError, match=gone):
            use(gone)
    for nonsense in ("../../etc/passwd", "ABC", gone[:-1] + "G"):
        with pytest.raises(StoreError, match="sha256"):
            any_store.blobs.open(nonsense)


def test_the_cache_folder_follows_the_environment() -> None:
    assert cache_folder({"SHARPLINE_CACHE": "/c", "XDG_CACHE_HOME": "/x"}) == Path("/c")
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/sharpline")
    assert cache_folder({}) == Path.home() / ".cache" / "sharpline"


def _manifest(store: Store, index: bytes = b"index") -> Manifest:
    entries = (Entry("a.tar", *store.blobs.add_bytes(b"a")), Entry("i", *store.blobs.add_bytes(index), derived=True))
    return Manifest("samples", {"scale": 4}, entries)


def test_trees_come_back_as_they_were(any_store: Store) -> None:
    manifest = _manifest(any_store)
    digest = any_store.trees.put(manifest)
    assert digest == manifest.digest
    assert any_store.trees.has(digest)
    assert Store(any_store.objects, "").trees.get(digest) == manifest


def test_a_tree_that_dangles_is_refused(any_store: Store) -> None:
    lost = replace(_manifest(any_store), entries=(Entry("a.tar", "2" * 64, 1),))
    with pytest.raises(StoreError, match=r"'a\.tar'.*" + "2" * 64):
        any_store.trees.put(lost)
    with pytest.raises(StoreError, match="autoencoder " + "3" * 64):
        any_store.trees.put(replace(_manifest(any_store), refs={"autoencoder": "3" * 64}))
    assert not list(any_store.objects.list("trees"))


def test_of_equal_artifacts_the_first_stays_unless_it_lost_a_blob(store: Store) -> None:
    first, second = _manifest(store, b"one"), _manifest(store, b"two")
    digest = store.trees.put(first)
    assert store.trees.put(second) == digest
    assert store.trees.get(digest) == first
    sha = first.entry("i").sha256
    store.objects.delete(f"blobs/{sha[:2]}/{sha}")
    store.trees.put(second)
    assert store.trees.get(digest) == second


def test_a_damaged_tree_is_not_believed(store: Store) -> None:
    digest = store.trees.put(_manifest(store))
    raw = json.loads(store.objects.get(f"trees/{digest}.json"))
    for damage, error, words in [
        ({**raw, "facets": {"scale": 2}}, StoreError, "damaged"),
        ({**raw, "schema": 2}, NewerSchema, "newer Sharpline"),
        ({"schema": 1}, StoreError, "damaged"),
    ]:
        store.objects.put(f"trees/{digest}.json", json.dumps(damage).encode())
        with pytest.raises(error, match=words):
            Store(store.objects, "").trees.get(digest)
