"""Who is alive: proof on the same machine, heartbeats elsewhere, and no trust in clocks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from pipelines.errors import StoreError
from pipelines.store.heartbeat import Heartbeat, Liveness, heartbeat_key
from pipelines.store.holder import Holder, boot_id, start_ticks
from pipelines.store.store import Store

ELSEWHERE = replace(Holder.current("run"), boot_id="another boot", host="another host")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_holders_survive_json() -> None:
    me = Holder.current("run-1")
    assert Holder.from_json(me.to_json()) == me
    assert me.id != Holder.current("run-1").id
    assert (me.pid, me.boot_id) == (os.getpid(), boot_id())


def test_this_process_is_not_dead() -> None:
    assert not Holder.current("run").proven_dead()


def test_a_killed_process_is_proven_dead_even_before_its_parent_looked() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    holder = replace(Holder.current("run"), pid=child.pid, started=start_ticks(child.pid) or 0)
    assert not holder.proven_dead()
    child.kill()
    while start_ticks(child.pid) is not None:
        time.sleep(0.005)
    assert holder.proven_dead()  # a zombie
    child.wait()
    assert holder.proven_dead()


def test_another_process_with_the_same_id_does_not_count() -> None:
    me = Holder.current("run")
    assert replace(me, started=me.started - 1).proven_dead()


@pytest.mark.parametrize(
    "change", [{"boot_id": "other"}, {"boot_id": ""}, {"host": "other"}, {"started": 0}], ids=lambda c: next(iter(c))
)
def test_nothing_is_proven_about_other_machines(change: dict[str, object]) -> None:
    gone = replace(Holder.current("run"), pid=2**22 + 1)
    assert gone.proven_dead()
    assert not replace(gone, **change).proven_dead()  # type: ignore[arg-type]


def test_a_holder_elsewhere_is_dead_after_patience_without_a_beat(any_store: Store) -> None:
    clock = Clock()
    observer = Liveness(any_store, patience=60, clock=clock)
    with Heartbeat(any_store, ELSEWHERE, interval=3600) as heart:
        assert not observer.dead(ELSEWHERE)
        clock.now += 59
        assert not observer.dead(ELSEWHERE)
        heart._beat()
        clock.now += 59
        assert not observer.dead(ELSEWHERE)
        clock.now += 59
        assert not observer.dead(ELSEWHERE)
        clock.now += 1
        assert observer.dead(ELSEWHERE)
        heart._beat()
        assert not observer.dead(ELSEWHERE)


def test_a_holder_without_a_heartbeat_gets_patience_too(store: Store) -> None:
    clock = Clock()
    observer = Liveness(store, patience=60, clock=clock)
    assert not observer.dead(ELSEWHERE)
    clock.now += 60
    assert observer.dead(ELSEWHERE)


def test_an_observer_that_cannot_see_concludes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    observer = Liveness(store, patience=60, clock=clock)
    assert not observer.dead(ELSEWHERE)

    def outage(key: str) -> bytes:
        raise StoreError("outage")

    with monkeypatch.context() as patch:
        patch.setattr(store.objects, "get", outage)
        clock.now += 50
        assert not observer.dead(ELSEWHERE)
    clock.now += 50
    assert not observer.dead(ELSEWHERE)
    clock.now += 60
    assert observer.dead(ELSEWHERE)


def test_a_heart_beats_by_itself_and_leaves_nothing(store: Store) -> None:
    key = heartbeat_key(ELSEWHERE)
    with Heartbeat(store, ELSEWHERE, interval=0.02):
        first = store.objects.get(key)
        deadline = time.monotonic() + 5
        while store.objects.get(key) == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert store.objects.head(key) is None


def test_a_heart_survives_an_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []

    def outage(key: str, data: bytes) -> None:
        failures.append(key)
        raise StoreError("outage")

    with Heartbeat(store, ELSEWHERE, interval=0.01):
        first = store.objects.get(heartbeat_key(ELSEWHERE))
        with monkeypatch.context() as patch:
            patch.setattr(store.objects, "put", outage)
            while len(failures) < 3:
                time.sleep(0.01)
        deadline = time.monotonic() + 5
        while store.objects.get(heartbeat_key(ELSEWHERE)) == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
