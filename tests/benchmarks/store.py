"""What the local store costs, beside a bare reference measured in the same run: the ratio outlives the machine.

python -m tests.benchmarks.store [--rows 100000]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.artifact import Entry
from pipelines.store.keylog import Holder
from pipelines.store.parts import PartRow
from pipelines.store.store import Store, open_store

FAMILY = "f" * 64
KEY = "k1:" + "a" * 64


def seconds(action: Callable[[], object], times: int = 1) -> float:
    """The fastest of three runs of `times` calls, in seconds a call."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(times):
            action()
        best = min(best, (time.perf_counter() - began) / times)
    return best


def create(store: Store, root: Path) -> tuple[float, float]:
    """`put_if_absent` of 500 bytes, against a temporary file that is fsynced and linked."""
    data, count = b"x" * 500, iter(range(10**9))

    def bare() -> None:
        n = next(count)
        with open(root / f"t{n}", "xb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        os.link(root / f"t{n}", root / f"l{n}")
        os.unlink(root / f"t{n}")

    return seconds(lambda: store.objects.put_if_absent(f"bench/{next(count)}", data), 500), seconds(bare, 500)


def add_rows(store: Store, root: Path, rows: int) -> tuple[float, float]:
    """One row of a partition table, against write(2) of its bytes."""
    entries = {"pairs": [Entry("shard-00001.tar", "0" * 64, 10**8, meta={"samples": 400})]}
    with store.parts(FAMILY).writer() as writer:
        began = time.perf_counter()
        for n in range(rows):
            writer.add(PartRow(f"{n:064x}", entries, 1.5, f"{KEY}/0", 1.0))
        took = (time.perf_counter() - began) / rows
    line = PartRow("0" * 64, entries, 1.5, f"{KEY}/0", 1.0).to_line()
    with open(root / "rows", "wb", buffering=0) as file:
        return took, seconds(lambda: file.write(line), rows // 10)


def load_rows(store: Store, rows: int) -> tuple[float, float]:
    """All rows of a table, against json.loads of every line of its one segment."""
    path = store.objects.local_path(next(iter(store.objects.list(f"parts/{FAMILY}"))).key)
    assert path is not None
    assert len(store.parts(FAMILY).load()) == rows
    return seconds(store.parts(FAMILY).load), seconds(lambda: [json.loads(line) for line in path.open("rb")])


def key_state(store: Store, root: Path) -> tuple[float, float]:
    """The state of a key of six records, against reading and parsing six files."""
    log, me = store.key_log(KEY), Holder.current("bench")
    for _ in range(2):
        claim = log.try_claim(me)
        assert claim is not None
        claim.commit({"out": "0" * 64}, {"stage": "x", "config": {str(i): i for i in range(50)}}, {})
        log.append_rebuild("again")
    paths = [store.objects.local_path(info.key) for info in store.objects.list("keys")]
    return (
        seconds(lambda: store.key_log(KEY).state(), 100),
        seconds(lambda: [json.loads(path.read_bytes()) for path in paths if path], 100),
    )


def open_again(store: Store, root: Path) -> tuple[float, float]:
    """`open_store`, against reading and parsing store.json."""
    path = Path(store.url) / "store.json"
    return seconds(lambda: open_store(store.url), 100), seconds(lambda: json.loads(path.read_bytes()), 100)


def main() -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = open_store(root / "store")
        table: list[tuple[str, tuple[float, float], str]] = [
            ("put_if_absent", create(store, root), "write, fsync, link"),
            ("add a partition row", add_rows(store, root, rows), "write(2)"),
            (f"load {rows:,} rows", load_rows(store, rows), "json.loads of each line"),
            ("state of a key, 6 records", key_state(store, root), "json.loads of 6 files"),
            ("open_store", open_again(store, root), "json.loads of store.json"),
        ]
    print(f"{'operation':<28}{'ms':>10}{'a second':>12}{'reference ms':>14}{'ratio':>8}  reference")
    for name, (took, bare), reference in table:
        print(f"{name:<28}{took * 1e3:>10.3f}{1 / took:>12,.0f}{bare * 1e3:>14.3f}{took / bare:>8.1f}  {reference}")


if __name__ == "__main__":
    main()
