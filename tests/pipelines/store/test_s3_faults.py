"""S3 that fails: every operation still means what it says, or says that it failed."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import StoreError
from pipelines.store.backends import s3 as backend
from pipelines.store.backends.s3 import S3Objects
from pipelines.store.keylog import Holder
from pipelines.store.objects import ObjectStore
from pipelines.store.store import Store, open_store
from tests.support.s3 import BUCKET, FaultProxy, environment

KEY = "k1:" + "a" * 64


@pytest.mark.parametrize("fault", ["refused", "lost", "cut", "delay"])
def test_creation_has_one_winner_who_knows_it(s3: FaultProxy, s3_objects: ObjectStore, fault: str) -> None:
    """In particular when the answer to the winning request was lost."""
    with s3.misbehaving(**{fault: 0.3, "seed": 7}) as faults, ThreadPoolExecutor(3) as pool:
        for n in range(10):

            def create(i: int, n: int = n) -> bool:
                return s3_objects.put_if_absent(f"r/{n}", b"writer %d" % i)

            won = list(pool.map(create, range(3)))
            assert won.count(True) == 1
            assert s3_objects.get(f"r/{n}") == b"writer %d" % won.index(True)
        assert [info.key for info in s3_objects.list("r")] == sorted(f"r/{n}" for n in range(10))
        assert faults.counts[fault] > 0


def test_a_creation_that_arrives_after_we_looked_for_it_is_ours(s3: FaultProxy) -> None:
    """First try cut off, nothing there, then it arrives and refuses the second try."""
    objects = S3Objects(f"s3://{BUCKET}/late-{time.time_ns()}", first_pause=0.3)
    with s3.misbehaving(late=1.0, delay_seconds=0.08) as faults:
        assert objects.put_if_absent("a", b"mine") is True
    assert faults.counts == {"late": 1}
    assert objects.get("a") == b"mine"


def test_a_claim_whose_answer_was_lost_is_ours(s3: FaultProxy, s3_objects: ObjectStore) -> None:
    log = Store(s3_objects, "").key_log(KEY)
    with s3.misbehaving(lost=0.5, seed=3):
        claim = log.try_claim(Holder.current("run"))
        assert claim is not None
        assert claim.commit({"out": "d" * 64}, {"stage": "x"}, {})
    state = Store(s3_objects, "").key_log(KEY).state()
    assert [record.kind for record in state.records] == ["claim", "commit"]


def test_a_file_in_parts_arrives_whole(
    s3: FaultProxy, s3_objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(backend, "PART_BYTES", 5 << 20)
    data = os.urandom(1 << 20) * 11
    (tmp_path / "big").write_bytes(data)
    with s3.misbehaving(refused=0.2, seed=5):
        assert s3_objects.put_file_if_absent("blobs/big", tmp_path / "big")
        assert s3_objects.get_range("blobs/big", 6 << 20, 9) == data[6 << 20 :][:9]
    assert s3_objects.get("blobs/big") == data


def test_an_outage_is_survived(s3: FaultProxy, s3_objects: ObjectStore) -> None:
    s3.stop()
    threading.Timer(0.4, s3.start).start()
    assert s3_objects.put_if_absent("a", b"1")
    assert s3_objects.get("a") == b"1"


def test_an_endless_outage_is_an_error_that_says_what_to_check(s3: FaultProxy) -> None:
    objects = S3Objects(f"s3://{BUCKET}/x", first_pause=0.001)
    with s3.misbehaving(refused=1.0):
        for use in (lambda: objects.get("a"), lambda: objects.put_if_absent("a", b""), lambda: list(objects.list(""))):
            with pytest.raises(StoreError, match="AWS_ENDPOINT_URL"):
                use()


def test_a_bucket_that_is_not_there_is_named(s3: FaultProxy) -> None:
    with pytest.raises(StoreError, match="bucket does not exist"):
        open_store("s3://no-such-bucket/x")


def test_credentials_come_from_the_environment(s3: FaultProxy) -> None:
    with environment({"AWS_ENDPOINT_URL": s3.url}):
        store = open_store(f"s3://{BUCKET}/env-{time.time_ns()}")
    assert open_store(store.url, create=False).id == store.id


def test_a_forked_child_is_told_instead_of_hanging(s3_objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(StoreError, match="spawn"):
        s3_objects.get("a")
