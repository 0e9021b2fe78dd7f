"""Who may build a key, and whose result counts."""

from __future__ import annotations

import json
import multiprocessing
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifact import Entry, Manifest
from pipelines.canonical import JsonObject
from pipelines.errors import NewerSchema, StoreError
from pipelines.store.backends.local import LocalObjects
from pipelines.store.keylog import Claim, DamagedRecord, Holder, KeyLog, compare_outputs
from pipelines.store.keystate import KeyState, Record, replay
from pipelines.store.schema import encode, encode_sealed
from pipelines.store.store import Store
from tests.support.damage import rewrite
from tests.support.store_workers import hammer

KEY = "k1:" + "a" * 64
OUT = {"out": "d" * 64}


def test_a_build_is_claimed_and_committed(any_store: Store) -> None:
    log, me = any_store.key_log(KEY), Holder.current("run-1")
    assert log.state() == KeyState()
    claim = log.try_claim(me)
    assert claim is not None
    assert (claim.key, claim.attempt) == (KEY, 0)
    assert log.state().holder == me
    assert claim.still_held()
    assert claim.commit(OUT, {"stage": "x"}, {"reproducible": True})
    state = any_store.key_log(KEY).state()
    assert (state.next_n, state.holder, state.attempt, state.done) == (2, None, None, True)
    commit = state.committed
    assert commit is not None
    assert (commit.n, commit.attempt, commit.outputs, commit.payload) == (1, 0, OUT, {"stage": "x"})
    assert commit.meta == {"reproducible": True}


def test_what_is_held_or_done_cannot_be_claimed(store: Store) -> None:
    log, me, other = store.key_log(KEY), Holder.current("mine"), Holder.current("other")
    claim = log.try_claim(me)
    assert claim is not None
    assert store.key_log(KEY).try_claim(other) is None
    claim.release()
    again = store.key_log(KEY).try_claim(other)
    assert again is not None
    assert again.commit(OUT, {}, {})
    assert log.try_claim(me) is None


def test_a_driver_that_was_taken_over_cannot_commit(any_store: Store) -> None:
    slow, fast = any_store.key_log(KEY), any_store.key_log(KEY)
    stale = slow.try_claim(Holder.current("slow"))
    claim = fast.take_over(fast.state(), Holder.current("fast"))
    assert stale is not None
    assert claim is not None
    assert not stale.still_held()
    assert not stale.commit({"out": "e" * 64}, {}, {})
    stale.release()
    assert claim.still_held()
    assert claim.commit(OUT, {}, {})
    assert not stale.commit({"out": "e" * 64}, {}, {})
    assert any_store.key_log(KEY).state().committed is not None


def test_takeover_and_commit_compete_for_one_record(store: Store) -> None:
    """The observer decided that the holder is dead; the holder committed meanwhile."""
    holder, observer = store.key_log(KEY), store.key_log(KEY)
    claim = holder.try_claim(Holder.current("slow"))
    assert claim is not None
    seen = observer.state()
    assert claim.commit(OUT, {}, {})
    assert observer.take_over(seen, Holder.current("hasty")) is None
    assert observer.state().done


def test_a_rebuild_is_answered_only_by_a_build_that_began_after_it(store: Store) -> None:
    log, me = store.key_log(KEY), Holder.current("run")
    early = log.try_claim(me)
    assert early is not None
    log.append_rebuild("asked")
    assert early.commit(OUT, {}, {})
    state = log.state()
    assert (state.rebuild, state.rebuild_n, state.done) == (True, 1, False)
    late = log.try_claim(me)
    assert late is not None
    assert late.commit(OUT, {}, {})
    assert log.state().done


def test_accepts_belong_to_the_commit_before_them(store: Store) -> None:
    log, me = store.key_log(KEY), Holder.current("run")
    claim = log.try_claim(me)
    assert claim is not None
    claim.commit(OUT, {}, {})
    for fingerprint in ("f1", "f2", "f1"):
        log.append_accept(fingerprint)
    assert log.state().accepted == ("f1", "f2")
    log.append_rebuild("drift")
    claim = log.try_claim(me)
    assert claim is not None
    claim.commit(OUT, {}, {})
    assert log.state().accepted == ()


def test_healing_is_asked_for_once_and_answered_by_any_later_commit_unlike_a_rebuild(store: Store) -> None:
    log, me = store.key_log(KEY), Holder.current("run")
    first = log.try_claim(me)
    assert first is not None
    first.commit(OUT, {}, {})
    for why in ("a shard is gone", "another is gone"):
        log.append_heal(why)
    state = log.state()
    assert (state.done, state.healing, state.line, state.why, state.next_n) == (False, True, 2, "a shard is gone", 3)
    claim = log.try_claim(me)
    assert claim is not None
    log.append_rebuild("asked")
    state = log.state()
    assert (state.healing, state.line, state.why) == (False, 4, "asked")  # nothing made before counts any more
    claim.commit(OUT, {}, {})
    state = log.state()
    assert (state.done, state.heal_n, state.rebuild_n) == (False, None, 4)


def test_a_committed_key_can_be_held_without_undoing_its_commit(store: Store) -> None:
    log, me = store.key_log(KEY), Holder.current("run")
    claim = log.try_claim(me)
    assert claim is not None
    claim.commit(OUT, {}, {})
    assert log.try_claim(me) is None
    held = log.try_claim(me, though_done=True)
    assert held is not None
    assert log.try_claim(Holder.current("other"), though_done=True) is None
    held.release()
    state = log.state()
    assert (state.done, state.holder, state.committed.outputs) == (True, None, OUT)  # type: ignore[union-attr]


def test_a_record_of_the_future_is_refused_and_a_damaged_one_is_named(store: Store) -> None:
    store.objects.put(f"keys/{KEY.replace(':', '-')}/000000.json", b'{"schema":2,"kind":"claim","at":0}')
    with pytest.raises(NewerSchema, match="schema 2"):
        store.key_log(KEY).state()
    store.objects.put(f"keys/{KEY.replace(':', '-')}/000000.json", b'{"sche')
    with pytest.raises(StoreError, match=r"000000\.json"):
        store.key_log(KEY).state()


def filled(store: Store) -> list[str]:
    """A log of every kind of record; the keys of its files."""
    log = store.key_log(KEY)
    claim = log.try_claim(Holder.current("run"))
    assert claim is not None
    assert claim.commit(OUT, {"stage": "é", "x": 1.5e-7}, {"reproducible": True})
    log.append_accept("f1")
    log.append_heal("a shard is gone")
    again = log.try_claim(Holder.current("run"))
    assert again is not None
    again.release()
    return sorted(info.key for info in store.objects.list("keys"))


def test_a_flipped_bit_anywhere_in_a_record_is_seen_and_its_file_named(store: Store) -> None:
    for path in filled(store):
        raw, file = store.objects.get(path), Path(store.url) / path
        for place in range(0, len(raw) - 1, 5):
            wrong = bytearray(raw)
            wrong[place] ^= 1 << (place % 7)
            rewrite(file, bytes(wrong))
            with pytest.raises(DamagedRecord, match=re.escape(path)) as caught:
                store.key_log(KEY).state()
            assert caught.value.path == path
        rewrite(file, raw)
    assert store.key_log(KEY).state().why == "a shard is gone"


def test_records_of_earlier_versions_have_no_seal_and_only_known_kinds_and_fields(store: Store) -> None:
    before = store.key_log(KEY)
    for path in filled(store):
        body = {name: value for name, value in json.loads(store.objects.get(path)).items() if name != "seal"}
        store.objects.put(path, encode(body))
        assert store.key_log(KEY).state().next_n == 6
        needed = {"holder", "attempt", "outputs", "payload", "meta", "why", "fingerprint"} & set(body)
        harms: list[JsonObject] = [{"kind": "commht"}, {"at": "x"}, {"sfal": "0"}, *({name: None} for name in needed)]
        harms += [{"outputs": {"out": "x"}}] if body["kind"] == "commit" else []
        if body["kind"] == "claim":
            harms += [{"holder": {("hosu" if k == "host" else k): v for k, v in body["holder"].items()}}]
        for harm in harms:
            store.objects.put(path, encode({**body, **harm}))
            with pytest.raises(DamagedRecord):
                store.key_log(KEY).state()
        store.objects.put(path, encode(body))
    assert store.key_log(KEY).state() == before.state()


def test_a_sealed_record_of_a_later_kind_is_skipped(store: Store) -> None:
    count = len(filled(store))
    later = encode_sealed({"kind": "a kind of a later version", "at": 1.0, "more": [1]})
    store.objects.put(f"keys/{KEY.replace(':', '-')}/{count:06d}.json", later)
    state = store.key_log(KEY).state()
    assert (state.next_n, state.why) == (count + 1, "a shard is gone")


def test_records_that_name_a_lost_claim_are_void() -> None:
    """No writer of ours appends one; a log that holds one is still read safely."""
    holder: JsonObject = {"holder": Holder.current("run").to_json()}
    log = [
        Record(0, "claim", 0.0, holder),
        Record(1, "claim", 0.0, holder),
        Record(2, "commit", 0.0, {"attempt": 0, "outputs": {}, "payload": {}, "meta": {}}),
        Record(3, "release", 0.0, {"attempt": 0}),
        Record(4, "a kind of a later version", 0.0, {}),
    ]
    state = replay(log)
    assert (state.attempt, state.committed, state.next_n) == (1, None, 5)


# ---------------------------------------------------------------- any interleaving


class Interrupted(LocalObjects):
    """Lets something else happen just before one of a driver's reads or writes."""

    left = 0
    intrusion: Callable[[], None] | None = None

    def intrude(self, after: int, action: Callable[[], None]) -> None:
        self.left, self.intrusion = after, action

    def get(self, key: str) -> bytes:
        self._now()
        return super().get(key)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self._now()
        return super().put_if_absent(key, data)

    def _now(self) -> None:
        self.left -= 1
        if self.left < 0 and self.intrusion is not None:
            action, self.intrusion = self.intrusion, None
            action()


@dataclass
class Driver:
    log: KeyLog
    holder: Holder
    seen: KeyState = field(default_factory=KeyState)
    claims: list[Claim] = field(default_factory=list)


ACTIONS = ["look", "claim", "take", "commit", "stale commit", "release", "accept", "rebuild"]
steps = st.tuples(st.integers(0, 1), st.sampled_from(ACTIONS))


class World:
    """Two drivers on one key; after every action the log obeys the rules."""

    def __init__(self, root: Path) -> None:
        self.objects = Interrupted(root)
        self.drivers = [
            Driver(KeyLog(self.objects, KEY), replace(Holder.current("r"), id=f"driver-{i}")) for i in range(2)
        ]
        self.records: dict[str, bytes] = {}
        self.committed: dict[int, str] = {}  # attempt -> outputs of commits that were reported as successful
        self.count = 0

    def act(self, who: int, action: str) -> None:
        driver = self.drivers[who]
        self.count += 1
        if action == "look":
            driver.seen = driver.log.state()
        elif action in ("claim", "take"):
            taken = driver.log.take_over(driver.seen, driver.holder) if action == "take" else None
            claim = driver.log.try_claim(driver.holder) if action == "claim" else taken
            driver.claims.extend([claim] if claim else [])
        elif action in ("commit", "stale commit") and driver.claims:
            self._commit(driver.claims[-1 if action == "commit" else 0])
        elif action == "release" and driver.claims:
            driver.claims[-1].release()
        elif action == "accept":
            driver.log.append_accept(f"f{self.count}")
        elif action == "rebuild":
            driver.log.append_rebuild(f"why {self.count}")

    def _commit(self, claim: Claim) -> None:
        out = f"{self.count:064x}"
        if claim.commit({"out": out}, {}, {}):
            assert claim.attempt not in self.committed, "two commits of one claim"
            self.committed[claim.attempt] = out

    def check(self) -> None:
        found = {info.key: self.objects.get(info.key) for info in self.objects.list("keys")}
        assert self.records.items() <= found.items(), "a record was rewritten or removed"
        self.records = found
        log = KeyLog(self.objects, KEY)
        state = log.state()
        assert state.next_n == len(found)
        effective = [replay(state.records[: r.n + 1]).committed for r in state.records if r.kind == "commit"]
        counted = {c.attempt: c.outputs["out"] for c in effective if c is not None}
        assert counted == self.committed
        assert len(effective) == len(self.committed), "a void commit was written"
        claims = [r.n for r in state.records if r.kind == "claim"]
        assert state.attempt in (None, *claims[-1:])
        assert set(counted) <= set(claims)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(steps, st.none() | st.tuples(st.integers(0, 3), steps)), max_size=12))
def test_no_interleaving_of_two_drivers_breaks_the_rules(
    script: list[tuple[tuple[int, str], tuple[int, tuple[int, str]] | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step, intrusion in script:
            if intrusion is not None:
                after, intruder = intrusion
                world.objects.intrude(after, lambda intruder=intruder: world.act(*intruder))
            world.act(*step)
            world.objects.intrusion = None
            world.check()


def test_two_processes_that_hammer_one_key_commit_once_a_generation(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.store_workers"])
    generations = 25
    workers = [context.Process(target=hammer, args=(str(tmp_path), KEY, generations)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    records = KeyLog(LocalObjects(tmp_path), KEY).state().records
    kinds = [record.kind for record in records]
    assert kinds == (["claim", "commit", "rebuild"] * generations)[:-1]
    for claim, commit in zip(records[0::3], records[1::3], strict=True):
        assert commit.body["attempt"] == claim.n
        assert commit.body["outputs"] == {"out": claim.body["holder"]["id"] * 4}  # type: ignore[index,call-overload]


# ---------------------------------------------------------------- reproducible or not


def _tree(store: Store, kind: str = "samples", scale: int = 4, derived: bytes = b"i", **files: bytes) -> str:
    entries = [Entry(name, *store.blobs.add_bytes(data)) for name, data in files.items()]
    index = Entry("index.parquet", *store.blobs.add_bytes(derived), derived=True)
    return store.trees.put(Manifest(kind, {"scale": scale}, (*entries, index)))  # type: ignore[arg-type]


def test_a_difference_names_the_slot_and_the_first_entry(store: Store) -> None:
    old = {"pairs": _tree(store, a=b"1", b=b"2", c=b"3"), "log": _tree(store, x=b"")}
    assert compare_outputs(store, old, dict(old)) is None
    assert compare_outputs(store, old, {**old, "pairs": _tree(store, derived=b"j", a=b"1", b=b"2", c=b"3")}) is None
    for new, words in [
        (_tree(store, a=b"1", b=b"X", c=b"Y"), "'pairs': entry 'b' differs"),
        (_tree(store, a=b"1", c=b"3"), "'pairs': entry 'b' is missing"),
        (_tree(store, a=b"1", aa=b"", b=b"2", c=b"3"), "'pairs': entry 'aa' is new"),
        (_tree(store, scale=2, a=b"1", b=b"2", c=b"3"), "'pairs': facet 'scale' was 4, now 2"),
        (_tree(store, kind="images", a=b"1", b=b"2", c=b"3"), "kind was samples, now images"),
    ]:
        assert words in (compare_outputs(store, old, {**old, "pairs": new}) or "")
    assert "'log' is missing" in (compare_outputs(store, old, {"pairs": old["pairs"]}) or "")
    store.objects.delete(f"trees/{old['log']}.json")
    assert "manifest is gone" in (compare_outputs(store, old, {**old, "log": _tree(store, x=b"y")}) or "")
