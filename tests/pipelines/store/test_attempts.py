"""Observations: streams, hints, pictures and run records."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import NewerSchema
from pipelines.store import streams
from pipelines.store.attempts import StreamHandler, merge_metrics
from pipelines.store.objects import ObjectNotFound
from pipelines.store.runs import new_run_id
from pipelines.store.store import Store
from tests.support.s3 import FaultProxy

KEY = "k1:" + "a" * 64


def steps(rows: list[dict[str, object]]) -> list[object]:
    return [row["step"] for row in rows]


def test_rows_come_back_in_order(any_store: Store) -> None:
    attempt = any_store.attempt(KEY, 3)
    assert attempt.read("metrics") == []
    stream = attempt.stream("metrics")
    for n in range(10):
        stream.append({"step": n, "text": "ä\n\udcff", "nested": [n, None, {"a": 0.5}]})
        if n % 4 == 0:
            stream.flush()
    stream.close()
    rows = any_store.attempt(KEY, 3).read("metrics")
    assert rows == [{"step": n, "text": "ä\n\udcff", "nested": [n, None, {"a": 0.5}]} for n in range(10)]
    assert any_store.attempts(KEY) == [3]


def test_a_loss_that_is_no_number_is_still_json(store: Store) -> None:
    store.attempt(KEY, 0).append("metrics", [{"step": 1, "loss": float("nan"), "all": [float("inf"), 1.0]}])
    assert store.attempt(KEY, 0).read("metrics") == [{"step": 1, "loss": None, "all": [None, 1.0]}]


def test_rows_become_visible_after_a_while(any_store: Store) -> None:
    stream = any_store.attempt(KEY, 0).stream("metrics", seconds=0.02)
    stream.append({"step": 1})
    deadline = time.monotonic() + 5
    while not any_store.attempt(KEY, 0).read("metrics"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stream.close()


def test_a_long_stream_is_few_segments_and_a_follower_sees_each_row_once(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "FOLD_SEGMENTS", 5)
    attempt = any_store.attempt(KEY, 0)
    stream, follower, seen = attempt.stream("metrics"), attempt.reader("metrics"), []
    for n in range(43):
        stream.append({"step": n})
        stream.flush()
        if n % 3 == 0:
            seen += follower.new_rows()
    stream.close()
    seen += follower.new_rows()
    assert steps(seen) == steps(attempt.read("metrics")) == list(range(43))
    assert len(list(any_store.objects.list(f"{attempt.folder}/metrics"))) == 8 + 3


def test_a_fold_that_was_cut_off_shows_nothing_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the folded segment was written and before any of the others was deleted."""
    monkeypatch.setattr(streams, "FOLD_SEGMENTS", 3)
    monkeypatch.setattr(store.objects, "delete", Mock())
    attempt = store.attempt(KEY, 0)
    stream, follower, seen = attempt.stream("metrics"), attempt.reader("metrics"), []
    for n in range(8):
        stream.append({"step": n})
        stream.flush()
        seen += follower.new_rows()
    assert steps(seen) == steps(attempt.read("metrics")) == list(range(8))


def test_a_follower_survives_folding_between_list_and_get(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FOLD_SEGMENTS", 4)
    attempt = store.attempt(KEY, 0)
    stream = attempt.stream("metrics")
    for n in range(3):
        stream.append({"step": n})
        stream.flush()
    get = store.objects.get

    def folded_first(key: str) -> bytes:
        monkeypatch.setattr(store.objects, "get", get)
        stream.append({"step": 3})
        stream.flush()
        return get(key)

    monkeypatch.setattr(store.objects, "get", folded_first)
    assert steps(attempt.read("metrics")) == [0, 1, 2, 3]


def test_threads_share_a_writer_and_lose_nothing(store: Store) -> None:
    stream = store.attempt(KEY, 0).stream("metrics", seconds=0.001)

    def write(who: int) -> None:
        for n in range(200):
            stream.append({"step": who * 1000 + n})

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stream.close()
    found = steps(store.attempt(KEY, 0).read("metrics"))
    assert sorted(found) == [who * 1000 + n for who in range(4) for n in range(200)]


def test_a_segment_whose_answer_was_lost_costs_no_row(s3: FaultProxy, s3_store: Store) -> None:
    stream = s3_store.attempt(KEY, 0).stream("metrics")
    with s3.misbehaving(lost=0.4, refused=0.2, seed=11):
        for n in range(12):
            stream.append({"step": n})
            stream.flush()
    stream.close()
    assert steps(s3_store.attempt(KEY, 0).read("metrics")) == list(range(12))


def test_a_segment_that_arrived_although_it_failed_costs_no_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.errors import StoreError

    stream, create = store.attempt(KEY, 0).stream("metrics"), store.objects.put_if_absent

    def fails_late(key: str, data: bytes) -> bool:
        create(key, data)
        raise StoreError("no answer, for ever")

    stream.append({"step": 0})
    with monkeypatch.context() as patch:
        patch.setattr(store.objects, "put_if_absent", fails_late)
        with pytest.raises(StoreError):
            stream.flush()
    stream.append({"step": 1})
    stream.close()
    assert steps(store.attempt(KEY, 0).read("metrics")) == [0, 1]


def test_a_normal_exit_stores_what_nobody_flushed(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pipelines.store.store import open_store\n"
        f"open_store(sys.argv[1]).attempt({KEY!r}, 0).stream('metrics').append({{'step': 7}})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert steps(Store(_objects(tmp_path), "").attempt(KEY, 0).read("metrics")) == [7]


def _objects(root: Path):  # type: ignore[no-untyped-def]
    from pipelines.store.backends.local import LocalObjects

    return LocalObjects(root)


def test_logs_are_rows(store: Store) -> None:
    logger = logging.Logger("sharpline.teacher")
    handler = StreamHandler(store.attempt(KEY, 0).stream("log"), {"unit": "teacher"})
    logger.addHandler(handler)
    logger.info("step %d", 5)
    try:
        raise ValueError("bad")
    except ValueError:
        logger.exception("failed")
    handler.close()
    first, second = store.attempt(KEY, 0).read("log")
    assert {k: first[k] for k in ("level", "logger", "message", "unit")} == {
        "level": "INFO", "logger": "sharpline.teacher", "message": "step 5", "unit": "teacher",
    }  # fmt: skip
    assert "ValueError: bad" in str(second["error"])


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 9)), max_size=12, unique_by=lambda t: t[1:]
    ),
    st.randoms(use_true_random=False),
)
def test_of_a_step_seen_twice_the_later_attempt_counts_then_the_later_time(
    seen: list[tuple[int, int, int]], chance: random.Random
) -> None:
    rows = [{"step": s, "attempt": a, "time": float(t), "loss": f"{a}/{t}"} for s, a, t in seen]
    chance.shuffle(rows)
    merged = merge_metrics(rows)
    assert steps(merged) == sorted({s for s, _, _ in seen})
    for row in merged:
        a, t = max((a, t) for s, a, t in seen if s == row["step"])
        assert row["loss"] == f"{a}/{t}"


def test_different_metrics_of_a_step_are_put_together() -> None:
    rows = [{"step": 1, "time": 2.0, "psnr": 30.0}, {"step": 1, "time": 1.0, "loss": 0.5}]
    assert merge_metrics(rows) == [{"step": 1, "time": 2.0, "loss": 0.5, "psnr": 30.0}]


def test_hints_pictures_and_files(any_store: Store) -> None:
    attempt = any_store.attempt(KEY, 0)
    assert attempt.hint("progress") is None
    attempt.put_hint("progress-shard 7/é", {"done": 1})
    attempt.put_hint("progress-shard 7/é", {"done": 2})
    assert attempt.hint("progress-shard 7/é") == {"schema": 1, "done": 2}
    attempt.put_picture("val/0001 (x4)", b"png 1")
    attempt.put_picture("..", b"png 2")
    assert attempt.pictures() == ["..", "val/0001 (x4)"]
    assert attempt.picture("val/0001 (x4)") == b"png 1"
    with pytest.raises(ObjectNotFound):
        attempt.picture("other")
    attempt.put_json("failed.json", {"partitions": ["a"]})
    assert attempt.get_json("failed.json") == {"schema": 1, "partitions": ["a"]}
    assert attempt.get_json("other.json") is None
    attempt.put_json("failed.json", {"schema": 2})
    with pytest.raises(NewerSchema):
        attempt.get_json("failed.json")


def test_a_run_is_readable_while_it_runs(any_store: Store) -> None:
    record = any_store.run("20260101-000000-aaaa")
    record.put_json("spec.json", {"name": "quickstart"})
    record.append_event({"type": "run.started", "time": 1.0})
    record.flush()
    reader = any_store.run(record.id)
    assert reader.get_json("spec.json") == {"schema": 1, "name": "quickstart"}
    assert [event["type"] for event in reader.read_events()] == ["run.started"]
    record.put_json("stages/unet@mode=hr,seed=1.json", {"key": KEY})
    record.put_json("stages/photos.json", {"key": KEY})
    record.append_event({"type": "run.finished", "time": 2.0})
    record.put_text("report.html", "<p>ä")
    record.close()
    assert list(reader.stages()) == ["photos", "unet@mode=hr,seed=1"]
    assert [event["type"] for event in reader.read_events()] == ["run.started", "run.finished"]
    path = reader.path("report.html")
    assert path is None or path.read_text() == "<p>ä"


def test_runs_are_listed_oldest_first(any_store: Store) -> None:
    ids = ["20260102-000000-aaaa", "20251231-235959-ffff", "20260102-000000-0000"]
    for run_id in ids:
        any_store.run(run_id).put_json("spec.json", {})
    assert any_store.runs() == sorted(ids)
    assert sorted([new_run_id(), *ids])[-1] not in ids
