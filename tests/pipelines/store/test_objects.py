"""The contract of `ObjectStore`, on every backend."""

from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import StoreError
from pipelines.store.backends.local import STRAY_AGE, LocalObjects
from pipelines.store.objects import ObjectNotFound, ObjectStore, check_key, quote_name, unquote_name

AWKWARD = "latest/quick-start/unet@mode=hr,seed=1+x!20.json"


def keys(objects: ObjectStore, folder: str = "") -> list[str]:
    return [info.key for info in objects.list(folder)]


def test_a_disk_that_may_not_be_written_is_an_explained_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    objects = LocalObjects(tmp_path)
    objects.put("a", b"x")
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StoreError, match=f"could not write b: {os.strerror(errno.EROFS)}"):
        objects.put("b", b"y")


class TestEveryBackend:
    def test_what_was_put_is_read_whole_and_in_ranges(self, objects: ObjectStore) -> None:
        objects.put(AWKWARD, b"0123456789")
        assert objects.get(AWKWARD) == b"0123456789"
        assert objects.get_range(AWKWARD, 0, 4) == b"0123"
        assert objects.get_range(AWKWARD, 8, 100) == b"89"
        assert objects.get_range(AWKWARD, 10, 5) == b""
        assert objects.get_range(AWKWARD, 3, 0) == b""
        info = objects.head(AWKWARD)
        assert info is not None
        assert (info.key, info.size) == (AWKWARD, 10)

    def test_put_replaces_and_changes_the_stamp(self, objects: ObjectStore) -> None:
        objects.put("a/b", b"one")
        before = objects.head("a/b")
        objects.put("a/b", b"two")
        assert objects.get("a/b") == b"two"
        assert objects.head("a/b") != before

    def test_what_is_not_there_is_said_so(self, objects: ObjectStore) -> None:
        with pytest.raises(ObjectNotFound, match="no/such"):
            objects.get("no/such")
        with pytest.raises(ObjectNotFound):
            objects.get_range("no/such", 0, 1)
        assert objects.head("no/such") is None
        assert keys(objects, "no") == []
        assert objects.folders("no") == ()
        objects.delete("no/such")

    def test_a_folder_is_not_an_object(self, objects: ObjectStore) -> None:
        objects.put("a/b/c", b"x")
        assert objects.head("a/b") is None
        with pytest.raises(ObjectNotFound):
            objects.get("a/b")

    def test_of_many_creators_one_wins(self, objects: ObjectStore) -> None:
        barrier = threading.Barrier(8)

        def create(i: int) -> bool:
            barrier.wait()
            return objects.put_if_absent("keys/k/000000.json", b"writer %d" % i)

        for _ in range(3):
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(create, range(8)))
            assert won.count(True) == 1
            assert objects.get("keys/k/000000.json") == b"writer %d" % won.index(True)
            objects.delete("keys/k/000000.json")

    def test_a_file_is_taken_and_never_overwrites(self, objects: ObjectStore, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert objects.put_file_if_absent("blobs/x", first) is True
        assert objects.put_file_if_absent("blobs/x", second) is False
        assert objects.get("blobs/x") == b"first"
        assert not first.exists()
        assert not second.exists()

    def test_lists_are_sorted_by_key_and_keep_to_their_folder(self, objects: ObjectStore) -> None:
        names = ["p/b/2", "p/b-1", "p/a", "pp/x", "p/b/1", "q"]
        for name in names:
            objects.put(name, b"")
        assert keys(objects) == sorted(names)
        assert keys(objects, "p") == keys(objects, "p/") == ["p/a", "p/b-1", "p/b/1", "p/b/2"]
        assert objects.folders("") == ("p", "pp")
        assert objects.folders("p") == ("b",)

    def test_lists_go_on_behind_a_thousand(self, objects: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: objects.put(f"many/{i:05d}", b""), range(1005)))
        assert keys(objects, "many") == [f"many/{i:05d}" for i in range(1005)]

    def test_an_emptied_folder_is_gone(self, objects: ObjectStore) -> None:
        objects.put("a/b/c", b"")
        objects.delete("a/b/c")
        assert objects.folders("") == ()
        assert objects.put_if_absent("a/b/c", b"again")

    @pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "a/.b", "a b", "a\\b", "a\n", "ä", "x" * 256])
    def test_keys_cannot_leave_the_store(self, objects: ObjectStore, key: str) -> None:
        for use in (objects.get, objects.head, objects.delete, lambda k: objects.put_if_absent(k, b"")):
            with pytest.raises(StoreError, match="object key"):
                use(key)


@given(st.text(max_size=20))
def test_any_text_can_name_an_observation(text: str) -> None:
    assert unquote_name(check_key(quote_name(text))) == text


class TestLocal:
    def test_created_objects_are_read_only(self, tmp_path: Path) -> None:
        objects = LocalObjects(tmp_path)
        objects.put_if_absent("blobs/a", b"x")
        (tmp_path / "file").write_bytes(b"y")
        objects.put_file_if_absent("blobs/b", tmp_path / "file")
        for key in ("blobs/a", "blobs/b"):
            path = objects.local_path(key)
            assert path is not None
            assert path.stat().st_mode & 0o777 == 0o444

    def test_a_file_that_others_can_name_is_copied_and_left_as_it_was(self, tmp_path: Path) -> None:
        objects = LocalObjects(tmp_path / "store")
        photo, link, symlink = tmp_path / "photo", tmp_path / "link", tmp_path / "symlink"
        photo.write_bytes(b"mine")
        os.link(photo, link)
        symlink.symlink_to(photo)
        objects.put_file_if_absent("blobs/a", link)
        objects.put_file_if_absent("blobs/b", symlink)
        assert photo.stat().st_mode & 0o200
        photo.write_bytes(b"changed by its owner")
        assert objects.get("blobs/a") == objects.get("blobs/b") == b"mine"
        assert not link.exists()
        assert not symlink.is_symlink()

    def test_what_killed_writers_left_is_invisible_and_goes_when_old(self, tmp_path: Path) -> None:
        LocalObjects(tmp_path).put("a", b"")
        old, young = tmp_path / ".tmp" / "1-old", tmp_path / ".tmp" / "1-young"
        old.write_bytes(b"half")
        young.write_bytes(b"half")
        long_ago = time.time() - STRAY_AGE - 60
        os.utime(old, (long_ago, long_ago))
        objects = LocalObjects(tmp_path)
        objects.put("b", b"")
        assert keys(objects) == ["a", "b"]
        assert not old.exists()
        assert young.exists()

    def test_writers_survive_the_removal_of_their_folder(self, tmp_path: Path) -> None:
        objects = LocalObjects(tmp_path)

        def churn(i: int) -> None:
            for n in range(60):
                assert objects.put_if_absent(f"a/b/{i}-{n}", b"")
                objects.delete(f"a/b/{i}-{n}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(churn, range(4)))

    def test_a_full_or_forbidden_place_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("a file")
        with pytest.raises(StoreError, match="store"):
            LocalObjects(tmp_path / "store").put_if_absent("a/b", b"x")
