"""Partition tables: rows survive kills, folding and each other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifact import Entry
from pipelines.errors import NewerSchema, StoreError
from pipelines.store import partwriter
from pipelines.store.objects import ObjectInfo
from pipelines.store.parts import PartRow, PartRows, PartTable, segment_bytes
from pipelines.store.store import Store
from tests.support.s3 import FaultProxy

FAMILY = "f" * 64


def row(n: int, at: float = 1.0, sha: str = "0" * 64) -> PartRow:
    entries = {"pairs": [Entry("shard.tar", sha, n, meta={"samples": n}), Entry("i", sha, 1, derived=True)]}
    return PartRow(f"{n:064x}", entries, 0.25, "k1:" + "a" * 64 + "/3", at)


def segments(store: Store) -> list[str]:
    return [info.key for info in store.objects.list(f"parts/{FAMILY}")]


def test_rows_come_back_as_they_were(any_store: Store) -> None:
    table = any_store.parts(FAMILY)
    assert len(table.load()) == 0
    with table.writer() as writer:
        for n in range(3):
            writer.add(row(n))
    rows = table.load()
    assert dict(rows) == {row(n).key: row(n) for n in range(3)}
    assert "unknown" not in rows


def test_a_local_row_is_visible_at_once_and_before_close(store: Store) -> None:
    writer = store.parts(FAMILY).writer()
    for n in range(3):
        writer.add(row(n))
        assert len(store.parts(FAMILY).load()) == n + 1
    writer.close()


def test_remote_rows_become_visible_after_a_while_without_further_rows(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partwriter, "FLUSH_SECONDS", 0.05)
    store = s3_store
    writer = store.parts(FAMILY).writer()
    writer.add(row(1))
    deadline = time.monotonic() + 5
    while not len(store.parts(FAMILY).load()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    writer.close()


def test_a_long_stage_leaves_few_remote_segments(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partwriter, "FLUSH_ROWS", 10)
    store = s3_store
    with store.parts(FAMILY).writer() as writer:
        for n in range(500):
            writer.add(row(n))
    assert len(segments(store)) <= partwriter.FOLD_SEGMENTS
    assert len(store.parts(FAMILY).load()) == 500
    store.parts(FAMILY).compact()
    assert len(segments(store)) == 1
    assert len(store.parts(FAMILY).load()) == 500


def test_rows_kept_back_by_an_outage_arrive_later(
    s3: FaultProxy, s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partwriter, "FLUSH_ROWS", 2)
    store = s3_store
    writer = store.parts(FAMILY).writer()
    with s3.misbehaving(refused=1.0):
        for n in range(3):
            with suppress(StoreError):
                writer.add(row(n))
    writer.close()
    assert len(store.parts(FAMILY).load()) == 3


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=6), max_size=5),
    st.randoms(use_true_random=False),
)
def test_order_of_segments_and_duplicates_do_not_matter(
    found: list[list[tuple[int, int]]], chance: random.Random
) -> None:
    parts = [segment_bytes(row(n, at).to_line()[:-1] for n, at in rows) for rows in found]
    latest = {}
    for n, at in (pair for rows in found for pair in rows):
        latest[n] = max(at, latest.get(n, at))
    chance.shuffle(parts)
    rows = PartRows()
    for part in parts + parts[:2]:
        rows.add_segment(part, "")
    assert {key: r.at for key, r in rows.items()} == {row(n).key: at for n, at in latest.items()}


@given(st.integers(0, 400))
def test_a_torn_segment_gives_its_whole_rows(length: int) -> None:
    whole = segment_bytes(row(n).to_line()[:-1] for n in range(3))
    rows = PartRows()
    rows.add_segment(whole[: min(length * 3, len(whole))], "")
    assert all(rows[key] == row(int(key, 16)) for key in rows)
    assert len(rows) == max(0, whole[: min(length * 3, len(whole))].count(b"\n") - 1)


def test_blocks_that_a_power_failure_left_empty_are_skipped() -> None:
    lines = [row(n).to_line()[:-1] for n in range(3)]
    lines[1] = lines[1][:100] + b"\0" * 200 + lines[1][300:]
    rows = PartRows()
    rows.add_segment(segment_bytes(lines), "")
    assert set(rows) == {row(0).key, row(2).key}
    rows = PartRows()
    rows.add_segment(b"\0" * 50 + segment_bytes(lines)[50:], "")
    assert set(rows) == {row(2).key}  # the seal of a row says what the head would have said


def test_a_table_of_the_future_is_refused(store: Store) -> None:
    store.objects.put(f"parts/{FAMILY}/{1:013d}-aa.jsonl", b'{"schema":2}\n')
    with pytest.raises(NewerSchema):
        store.parts(FAMILY).load()


def test_compaction_leaves_open_segments_alone(store: Store) -> None:
    table = store.parts(FAMILY)
    live = table.writer()
    live.add(row(0))
    for n in (1, 2):
        with table.writer() as writer:
            writer.add(row(n))
    table.compact()
    live.add(row(3))
    assert len(segments(store)) == 2
    live.close()
    table.compact()
    assert len(segments(store)) == 1
    assert len(table.load()) == 4


def test_a_segment_folded_between_list_and_get_is_found_where_it_went(store: Store) -> None:
    table = store.parts(FAMILY)
    for n in range(3):
        with table.writer() as writer:
            writer.add(row(n))
    listed = store.objects.list

    def folded_meanwhile(folder: str) -> Iterator[ObjectInfo]:
        found = list(listed(folder))
        if folded_meanwhile.calls == 2:  # type: ignore[attr-defined]
            folded_meanwhile.calls += 1  # type: ignore[attr-defined]
            store.parts(FAMILY).compact()
        folded_meanwhile.calls += 1  # type: ignore[attr-defined]
        return iter(found)

    folded_meanwhile.calls = 1  # type: ignore[attr-defined]
    store.objects.list = folded_meanwhile  # type: ignore[method-assign]
    assert len(table.load()) == 3
    assert folded_meanwhile.calls > 3  # type: ignore[attr-defined]


def test_writers_readers_and_compaction_at_once_lose_nothing(any_store: Store) -> None:
    """No reader ever sees fewer rows than had been flushed when it began."""
    done, failures = threading.Event(), list[str]()
    flushed = [0, 0]

    def write(who: int) -> None:
        for batch in range(6):
            with any_store.parts(FAMILY).writer() as writer:
                for n in range(10):
                    writer.add(row(who * 1000 + batch * 10 + n))
            flushed[who] += 10

    def compact() -> None:
        while not done.is_set():
            any_store.parts(FAMILY).compact()

    def read() -> None:
        while not done.is_set():
            before = sum(flushed)
            found = len(any_store.parts(FAMILY).load())
            if found < before:
                failures.append(f"{found} of {before} rows")

    others = [threading.Thread(target=t) for t in (compact, compact, read)]
    writers = [threading.Thread(target=write, args=(who,)) for who in range(2)]
    for thread in others + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in others:
        thread.join()
    assert failures == []
    assert len(any_store.parts(FAMILY).load()) == 120


def test_a_segment_that_replaces_others_sorts_behind_them(store: Store) -> None:
    table = PartTable(store.objects, FAMILY)
    future = f"{9_000_000_000_000:013d}-aa.jsonl"  # written by a machine whose clock is ahead
    assert table.new_name(after=[future]) > future


# ---------------------------------------------------------------- damage


def test_every_flipped_bit_costs_its_own_row_at_most_and_is_named() -> None:
    whole = segment_bytes(row(n).to_line()[:-1] for n in range(3))
    for place in range(len(whole) - 1):
        wrong = bytearray(whole)
        wrong[place] ^= 1 << (place % 7)
        rows = PartRows()
        rows.add_segment(bytes(wrong), "parts/f/s.jsonl")
        assert all(rows[key] == row(int(key, 16)) for key in rows)
        assert rows.bad
        assert {line.segment for line in rows.bad} == {"parts/f/s.jsonl"}
        struck = whole[:place].count(b"\n")
        assert {line.number for line in rows.bad} <= {struck, struck + 1}
        lost = {row(n - 1).key for n in (struck, struck + 1) if n > 0} if whole[place] == 10 else {row(struck - 1).key}
        assert {row(n).key for n in range(3)} - set(rows) <= lost


def unsealed(n: int) -> bytes:
    return row(n).to_line().partition(b',"seal"')[0] + b"}"


def test_rows_of_earlier_versions_count_and_those_that_cannot_be_of_one_do_not() -> None:
    bad = [
        unsealed(1)[:-9] + b"}",
        unsealed(2).replace(b'"sha256"', b'"sha25v"'),
        unsealed(3).replace(b'"attempt"', b'"attemqt"'),
        unsealed(4).replace(b"/3", b"/s"),
        row(5).to_line()[:-1].replace(b'"seal"', b'"sfal"'),
        unsealed(6).replace(b'"sha256":"0', b'"sha256":"x'),
    ]
    rows = PartRows()
    rows.add_segment(segment_bytes([unsealed(0), *bad]), "here")
    assert dict(rows) == {row(0).key: row(0)}
    assert [(line.name, line.raw) for line in rows.bad] == [(f"row {n}", line) for n, line in enumerate(bad, 2)]


def test_compaction_seals_drops_damaged_lines_and_keeps_them_for_a_look(store: Store) -> None:
    wrong = row(1).to_line()[:-1].replace(b"shard.tar", b"shard.tas")
    store.objects.put(f"parts/{FAMILY}/{1:013d}-aa.jsonl", segment_bytes([unsealed(0), wrong]))
    assert [line.raw for line in store.parts(FAMILY).load().bad] == [wrong]
    store.parts(FAMILY).compact()
    rows = store.parts(FAMILY).load()
    assert (dict(rows), rows.bad) == ({row(0).key: row(0)}, [])
    assert [store.objects.get(key) for key in segments(store)] == [segment_bytes([row(0).to_line()[:-1]])]
    assert [store.objects.get(info.key) for info in store.objects.list("damaged")] == [wrong + b"\n"]
