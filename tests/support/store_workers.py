"""What the store's tests run in other processes, to race them and to kill them."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from pathlib import Path

from pipelines.artifact import Entry, Manifest
from pipelines.store.keylog import Holder
from pipelines.store.parts import PartRow
from pipelines.store.store import Store, open_store

KEYS = ["k1:" + c * 64 for c in "abc"]
FAMILY = "f" * 64
LINEAGE = "1" * 64


def hammer(root: str, key: str, generations: int) -> None:
    """Claim, commit and ask for a rebuild as fast as possible, until there are `generations` commits."""
    log, me = open_store(root).key_log(key), Holder.current("hammer")
    while sum(record.kind == "commit" for record in log.state().records) < generations:
        claim = log.try_claim(me)
        if claim is None:
            continue
        assert claim.commit({"out": me.id * 4}, {}, {})
        if sum(record.kind == "commit" for record in log.state().records) < generations:
            log.append_rebuild("again")


def write_for_ever(root: str, seed: int) -> None:
    """Do what drivers and workers do, in random order, until killed: a row, a tree, a commit name only what exists."""
    store, chance = open_store(root), random.Random(seed)
    actions = [_add_blob, _build, _build, _add_rows, _save, _observe]
    for n in itertools.count():
        chance.choice(actions)(store, chance, n)


def _bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice([1, 1000, 300_000]))


def _add_blob(store: Store, chance: random.Random, n: int) -> None:
    store.blobs.add_bytes(_bytes(chance))


def _build(store: Store, chance: random.Random, n: int) -> None:
    log, me = store.key_log(chance.choice(KEYS)), Holder.current("killed")
    claim = log.try_claim(me)
    if claim is None:
        state = log.state()
        if state.done:
            log.append_rebuild("again")
            claim = log.try_claim(me)
        else:
            assert state.holder is not None
            assert state.holder.proven_dead(), "the killed process must be known to be dead at once"
            claim = log.take_over(state, me)
        assert claim is not None
    entries = tuple(Entry(f"e{i}", *store.blobs.add_bytes(_bytes(chance))) for i in range(2))
    digest = store.trees.put(Manifest("samples", {"n": n}, entries))
    assert claim.commit({"out": digest}, {"n": n}, {})


def _add_rows(store: Store, chance: random.Random, n: int) -> None:
    with store.parts(FAMILY).writer() as writer:
        for _ in range(chance.randrange(1, 30)):
            entry = Entry("e", *store.blobs.add_bytes(chance.randbytes(10)))
            writer.add(PartRow(f"{chance.randrange(500):064x}", {"out": [entry]}, 0.1, "a/0", time.time()))
    if chance.random() < 0.3:
        store.parts(FAMILY).compact()


def _save(store: Store, chance: random.Random, n: int) -> None:
    with tempfile.TemporaryDirectory(dir=store.scratch_root().parent) as folder:  # type: ignore[union-attr]
        for i in range(3):
            (Path(folder) / f"{i}.bin").write_bytes(_bytes(chance))
        latest = max(store.checkpoints(LINEAGE).steps(), default=0)
        store.checkpoints(LINEAGE).save(latest + 1, Path(folder))


def _observe(store: Store, chance: random.Random, n: int) -> None:
    attempt = store.attempt(KEYS[0], 0)
    attempt.append("metrics", [{"step": n, "loss": chance.random()} for _ in range(5)])
    attempt.put_hint("progress", {"done": n})
