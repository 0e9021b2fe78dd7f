"""Writers killed with SIGKILL at any moment: what can be seen is whole, and the next one goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from pipelines.canonical import sha256_hex
from pipelines.store.store import Store, open_store
from tests.support.store_workers import FAMILY, KEYS, LINEAGE, write_for_ever

KILLS = 20


def test_nothing_that_can_be_seen_is_torn(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.store_workers"])
    chance = random.Random(20)
    root = tmp_path / "store"
    open_store(root)
    for n in range(KILLS):
        writer = context.Process(target=write_for_ever, args=(str(root), n))
        writer.start()
        time.sleep(chance.uniform(0.1, 0.5))
        assert writer.is_alive(), "the writer itself failed: see its traceback above"
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    _check(open_store(root, create=False), tmp_path)


def _check(store: Store, tmp_path: Path) -> None:
    for info in store.objects.list("blobs"):
        assert sha256_hex(store.objects.get(info.key)) == info.key.rsplit("/", 1)[1]
    for info in store.objects.list("trees"):
        manifest = store.trees.get(info.key.removeprefix("trees/").removesuffix(".json"))
        assert not store.blobs.missing(entry.sha256 for entry in manifest.entries)
    commits = 0
    for key in KEYS:
        records = store.key_log(key).state().records
        commits += sum(record.kind == "commit" for record in records)
        assert len(records) == len(list(store.objects.list(f"keys/{key.replace(':', '-')}")))
    assert commits > 0
    rows = store.parts(FAMILY).load()
    assert len(rows) > 0
    assert not store.blobs.missing(entry.sha256 for key in rows for entry in rows[key].entries["out"])
    newest = max(store.checkpoints(LINEAGE).steps())
    found = store.checkpoints(LINEAGE).latest(10**9, tmp_path / "restored")
    assert found is not None
    assert found[0] == newest, "a committed state was damaged"
    metrics = store.attempt(KEYS[0], 0).read("metrics")
    assert len(metrics) % 5 == 0
    hint = store.attempt(KEYS[0], 0).hint("progress")
    assert hint is not None
    for info in store.objects.list(""):
        if info.key.endswith(".json"):
            json.loads(store.objects.get(info.key))
