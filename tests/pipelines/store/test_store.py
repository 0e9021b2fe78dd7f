"""Opening a store, and the folders beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.errors import NewerSchema, StoreError
from pipelines.store.schema import check_schema
from pipelines.store.store import open_store


def test_a_store_is_made_once_and_known_again(tmp_path: Path) -> None:
    first = open_store(tmp_path / "s")
    second = open_store(f"{tmp_path}/s/", create=False)
    assert first.id == second.id != ""
    assert first.local_root == second.local_root == tmp_path / "s"
    assert first.is_local
    assert second.url == str(tmp_path / "s")


def test_where_there_is_none_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*`store:`"):
        open_store(tmp_path / "s", create=False)
    assert not (tmp_path / "s").exists()
    with pytest.raises(StoreError, match="gs"):
        open_store("gs://bucket/x")


def test_a_store_of_the_future_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"schema": 2, "id": "x"}')
    with pytest.raises(NewerSchema, match=r"store\.json: written by a newer Sharpline \(schema 2"):
        open_store(tmp_path)


@pytest.mark.parametrize("data", [{}, {"schema": "1"}, {"schema": 0}, {"schema": True}, [], None, {"schema": 1.0}])
def test_what_has_no_schema_number_is_damaged(data: object) -> None:
    with pytest.raises(StoreError, match=r"x\.json: expected"):
        check_schema(data, 1, "x.json")


def test_opening_is_cheap_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pipelines.store.store import open_store; open_store(sys.argv[1])\n"
        "took = min(-time.perf_counter() + (open_store(sys.argv[1]), time.perf_counter())[1] for _ in range(5))\n"
        "heavy = {'obstore', 'pyarrow', 'torch', 'ray', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy; assert took < 0.005, took"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_scratch_folders_of_dead_processes_go(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    code = (
        "import os, sys; from pipelines.store.store import open_store\n"
        "print(open_store(sys.argv[1]).new_scratch(), flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    foreign = tmp_path / ".scratch" / "0123456789abcdef-1-1-aa"
    foreign.mkdir()
    mine = [store.new_scratch() for _ in range(2)]
    assert all(folder.is_dir() and os.stat(folder).st_dev == os.stat(tmp_path).st_dev for folder in mine)
    assert not left.exists()
    assert foreign.is_dir()
    assert [info.key for info in store.objects.list("")] == ["store.json"]


def test_five_thousand_rows_cost_little(tmp_path: Path) -> None:
    """A no-op partition must cost under 5 ms in all, so its row may cost a fraction of that."""
    from pipelines.store.parts import PartRow

    store, began = open_store(tmp_path), time.perf_counter()
    with store.parts("f" * 64).writer() as writer:
        for n in range(5000):
            writer.add(PartRow(f"{n:064x}", {}, 0.0, "a/0", 0.0))
    assert time.perf_counter() - began < 5000 * 0.001
