"""Trainer states: all of one or nothing, the newest intact one, and never one writer's files in another's."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipelines.errors import StoreError
from pipelines.store import checkpoints
from pipelines.store.checkpoints import CheckpointStore
from pipelines.store.store import Store
from tests.support.s3 import FaultProxy

LINEAGE = "1" * 64


@pytest.fixture
def kept(any_store: Store) -> CheckpointStore:
    return any_store.checkpoints(LINEAGE)


def folder(tmp_path: Path, **files: bytes) -> Path:
    root = tmp_path / f"save-{time.time_ns()}"
    for name, data in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def save(kept: CheckpointStore, tmp_path: Path, step: int, keep_last: int = 2) -> None:
    kept.save(step, folder(tmp_path, state=b"step %d" % step, ranks__0=b"rng"), keep_last=keep_last)


def latest(kept: CheckpointStore, tmp_path: Path, at_most: int = 10**9) -> int | None:
    found = kept.latest(at_most, tmp_path / f"dest-{time.time_ns()}")
    if found is None:
        return None
    step, root = found
    assert (root / "state").read_bytes() == b"step %d" % step
    assert (root / "ranks/0").read_bytes() == b"rng"
    return step


def state_files(kept: CheckpointStore) -> list[str]:
    return [info.key for info in kept._objects.list(f"{kept.folder}/states")]


def damage(kept: CheckpointStore, step: int, how: str) -> None:
    key = next(k for k in state_files(kept) if f"/{step:010d}-" in k and k.endswith("/state"))
    data = kept._objects.get(key)
    kept._objects.delete(key)
    if how == "flipped":
        kept._objects.put(key, bytes([data[0] ^ 1]) + data[1:])
    elif how == "cut":
        kept._objects.put(key, data[:-1])


def test_named_steps_outlive_the_newest(kept: CheckpointStore, tmp_path: Path) -> None:
    """The best so far stays while others go, and goes when it is no longer named."""
    for step, keep in ((10, {10}), (20, {10}), (20, {10}), (30, {10}), (40, {10})):
        kept.save(step, folder(tmp_path, state=b"step %d" % step, ranks__0=b"rng"), keep_last=2, keep=keep)
    assert kept.steps() == [10, 30, 40]
    assert latest(kept, tmp_path, at_most=29) == 10
    save(kept, tmp_path, 50)
    assert kept.steps() == [40, 50]
    assert {key.split("/")[-2][:10] for key in state_files(kept) if key.endswith("/state")} == {
        "0000000040",
        "0000000050",
    }


def test_the_newest_state_up_to_a_step_comes_back(kept: CheckpointStore, tmp_path: Path) -> None:
    assert latest(kept, tmp_path) is None
    for step in (100, 200, 1000):
        save(kept, tmp_path, step, keep_last=5)
    assert kept.steps() == [100, 200, 1000]
    assert latest(kept, tmp_path) == 1000
    assert latest(kept, tmp_path, at_most=999) == 200
    assert latest(kept, tmp_path, at_most=99) is None


def test_meta_says_under_what_a_state_was_made(kept: CheckpointStore, tmp_path: Path) -> None:
    kept.save(1, folder(tmp_path, state=b"x"), meta={"attempt": "k1:a/0", "code": "f1"})
    found = kept.restore(5, tmp_path / "dest")
    assert found is not None
    assert found[0].meta == {"attempt": "k1:a/0", "code": "f1"}
    assert [c.step for c in kept.committed()] == [1]


def test_local_files_are_moved_in_and_linked_out(store: Store, tmp_path: Path) -> None:
    saved = folder(tmp_path, state=b"weights")
    inode = (saved / "state").stat().st_ino
    kept = store.checkpoints(LINEAGE)
    kept.save(1, saved)
    assert not (saved / "state").exists()
    found = kept.latest(1, tmp_path / "dest")
    assert found is not None
    assert (found[1] / "state").stat().st_ino == inode
    assert (found[1] / "state").stat().st_mode & 0o222 == 0


def test_a_state_being_read_survives_its_pruning(store: Store, tmp_path: Path) -> None:
    kept = store.checkpoints(LINEAGE)
    kept.save(1, folder(tmp_path, state=b"one"))
    found = kept.latest(1, tmp_path / "dest")
    assert found is not None
    for step in (2, 3, 4):
        kept.save(step, folder(tmp_path, state=b"x"), keep_last=1)
    assert (found[1] / "state").read_bytes() == b"one"


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
def test_a_damaged_state_is_passed_over(kept: CheckpointStore, tmp_path: Path, how: str) -> None:
    for step in (1, 2, 3):
        save(kept, tmp_path, step, keep_last=3)
    damage(kept, 3, how)
    assert latest(kept, tmp_path) == 2


def test_a_damaged_record_is_passed_over(kept: CheckpointStore, tmp_path: Path) -> None:
    for step in (1, 2):
        save(kept, tmp_path, step)
    record = next(i.key for i in kept._objects.list(f"{kept.folder}/commits") if "/0000000002-" in i.key)
    kept._objects.delete(record)
    kept._objects.put(record, b'{"schema":1')
    assert latest(kept, tmp_path) == 1


def test_only_the_last_states_are_kept(kept: CheckpointStore, tmp_path: Path) -> None:
    for step in range(1, 6):
        save(kept, tmp_path, step)
    assert kept.steps() == [4, 5]
    assert len(state_files(kept)) == 4


def test_pruning_counts_only_intact_states(kept: CheckpointStore, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(kept, tmp_path, step, keep_last=3)
    damage(kept, 3, "cut")
    save(kept, tmp_path, 4)
    assert kept.steps() == [2, 3, 4]
    damage(kept, 4, "flipped")
    assert latest(kept, tmp_path) == 2


def test_pruning_leaves_later_steps_of_a_longer_training_alone(kept: CheckpointStore, tmp_path: Path) -> None:
    """Steps was 1000 and is now 300: the shorter training must be able to resume, the longer one to come back."""
    for step in (900, 1000, 100, 200):
        save(kept, tmp_path, step)
    assert kept.steps() == [100, 200, 900, 1000]
    assert latest(kept, tmp_path, at_most=300) == 200


def test_a_save_without_its_record_does_not_exist(
    kept: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the last write; the files go when they are old enough to belong to nobody."""
    save(kept, tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(kept._objects, "put_if_absent", Mock(side_effect=KeyboardInterrupt))
        patch.setattr(kept._objects, "put_file_if_absent", _copy_in(kept))
        with pytest.raises(KeyboardInterrupt):
            save(kept, tmp_path, 2)
    assert kept.steps() == [1]
    assert latest(kept, tmp_path) == 1
    save(kept, tmp_path, 3)
    assert len(state_files(kept)) == 6
    monkeypatch.setattr(checkpoints, "ORPHAN_AGE", -60.0)
    save(kept, tmp_path, 4)
    assert len(state_files(kept)) == 4


def _copy_in(kept: CheckpointStore):  # type: ignore[no-untyped-def]
    def put(key: str, path: Path) -> bool:
        kept._objects.put(key, path.read_bytes())
        return True

    return put


def test_two_writers_cannot_corrupt_each_other(kept: CheckpointStore, tmp_path: Path) -> None:
    """A zombie and its successor save the same steps at the same time."""
    failures: list[Exception] = []

    def train(who: int) -> None:
        try:
            for step in range(1, 6):
                kept.save(step, folder(tmp_path / str(who), state=b"%d at %d" % (who, step), more=os.urandom(2000)))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=(who,)) for who in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert kept.steps()[-1] == 5
    found = kept.latest(5, tmp_path / "dest")
    assert found is not None
    assert found[0] == 5
    assert (found[1] / "state").read_bytes().endswith(b"at 5")


def test_an_empty_state_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no files"):
        store.checkpoints(LINEAGE).save(1, tmp_path / "empty")


def test_an_outage_is_not_taken_for_damage(s3: FaultProxy, s3_store: Store, tmp_path: Path) -> None:
    kept = s3_store.checkpoints(LINEAGE)
    save(kept, tmp_path, 1)
    save(kept, tmp_path, 2)
    with s3.misbehaving(refused=1.0), pytest.raises(StoreError):
        latest(kept, tmp_path)
    with s3.misbehaving(refused=0.2, lost=0.1, cut=0.1, seed=2):
        assert latest(kept, tmp_path) == 2
