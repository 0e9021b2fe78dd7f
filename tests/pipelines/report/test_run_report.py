"""From a store to a page: everything that was recorded is shown, nothing that is missing stops it."""

from __future__ import annotations

import re
import shutil
import socket
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.progress.board import Board
from pipelines.report.find import find_run, run_line
from pipelines.report.render import render
from pipelines.report.view import gather, run_status
from pipelines.report.write import write_report
from pipelines.store.store import Store, open_store
from tests.support.example_run import RUN, Example, begin, failing, key, quickstart


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return quickstart(tmp_path_factory.mktemp("finished"))


class Reader(HTMLParser):
    """Collects tags and attribute values; complains about tags that do not close."""

    VOID = frozenset({"meta", "link", "img", "input", "path", "rect", "circle", "line"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_finished_run_is_gathered_whole(finished: Store) -> None:
    view = gather(finished, RUN)
    assert view.problems == ()
    assert (view.status, view.name, view.seconds) == ("ok", "quickstart", 134.2)
    photos, pairs, teacher, evaluate = view.stages
    assert (photos.state, photos.outputs[0].kind, photos.outputs[0].count) == ("reused", "images", 24)
    assert pairs.partitions == (7, 8)
    assert len(pairs.samples[0].pairs) == 8
    assert {h.name for h in pairs.samples[0].histograms} == {
        "blur1_sigma", "noise1_sigma", "jpeg1_quality", "resize1_scale",
    }  # fmt: skip
    assert teacher.curves[0].name == "loss"
    assert [p.label for p in teacher.strips[0].pictures] == ["step 50", "step 100", "step 150", "step 200"]
    assert teacher.log[-1].endswith("step 200 done")
    assert [p.label for p in evaluate.comparisons[0].pictures] == ["lr", "bicubic", "teacher", "hr"]
    assert evaluate.inputs == ("teacher", "pairs")  # "teacher.model" names an output of it
    assert evaluate.tables[0].baseline == "bicubic"


def test_a_run_that_reused_everything_shows_what_was_observed_when_it_was_built(tmp_path: Path) -> None:
    quickstart(tmp_path)
    again = Example(tmp_path, "20261123-000000-quickstart-0000")
    begin(again, dict.fromkeys(("photos", "pairs", "teacher", "evaluate"), "cached"))
    for stage in ("photos", "pairs", "teacher", "evaluate"):
        commit = again.store.key_log(key(stage)).state().committed
        assert commit is not None
        again.emit("stage.reused", stage, key=key(stage), outputs=dict(commit.outputs))
    again.emit("run.finished", status="ok", seconds=0.8, built=0, reused=4, failed=0, skipped=0)
    again.record.close()
    view = gather(again.store, again.run)
    assert [stage.state for stage in view.stages] == ["reused"] * 4
    assert view.stages[2].curves
    assert len(view.stages[3].comparisons) == 4
    assert view.problems == ()


def test_the_page_is_well_formed_and_asks_for_nothing(finished: Store) -> None:
    page = render(gather(finished, RUN))
    reader = Reader(page)
    sources = [value for _, attrs in reader.tags for name, value in attrs.items() if name in ("src", "href")]
    assert len([s for s in sources if s and s.startswith("data:image/png")]) >= 30
    assert [s for s in sources if s and not s.startswith(("data:", "#"))] == []
    assert "url(" not in page
    assert "default-src 'none'" in page
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {s[1:] for s in sources if s and s.startswith("#")} <= set(ids)


def test_nothing_that_a_run_says_becomes_markup(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>'\"{{ 7*7 }}"
    example = Example(tmp_path)
    store = failing(tmp_path, hostile)
    attempt = store.attempt(key("teacher"), 0)
    attempt.append("metrics", [{"step": s, hostile: float(s)} for s in range(3)])
    attempt.append("log", [{"message": hostile}])
    for what in ("lr", "hr"):
        attempt.put_picture(f"{hostile}/{what}", b"\x89PNG")
        attempt.append("images", [{"name": f"{hostile}/{what}", "caption": hostile}])
    example.record.put_json("spec.json", {"name": hostile, "stages": {"teacher": {"notes": hostile, "uses": hostile}}})
    page = render(gather(store, RUN))
    reader = Reader(page)
    assert not any("onerror" in attrs for _, attrs in reader.tags)
    assert sum(tag == "script" for tag, _ in reader.tags) == 1
    assert "<img src=x" not in page
    assert "49" not in re.findall(r"alert\(1\).{0,40}", page)


def test_a_failed_run_says_where_why_and_how_to_go_on(tmp_path: Path) -> None:
    page = render(gather(failing(tmp_path, "X"), RUN))
    said = [
        "What failed",
        "ValueError: expected 3 channels, got 4: X",
        "stages/methods/resshift.py:88 in X",
        "latent = self.encode(batch)",
        "second line",
        "attempts/X/log",
        "sharpline run quickstart.yaml",
    ]
    for text in said:
        assert text in page


def test_missing_pieces_are_named_and_never_stop_the_report(tmp_path: Path) -> None:
    store = quickstart(tmp_path)
    root = tmp_path / "store"
    shutil.rmtree(root / "blobs")
    shutil.rmtree(root / "keys")
    (root / "runs" / RUN / "plan.json").write_text("{ broken")
    (root / "runs" / RUN / "stages" / "pairs.json").write_text("[]")
    view = gather(store, RUN)
    assert view.status == "ok"
    assert any(line.startswith("plan.json") for line in view.problems)
    assert any(line.startswith(("metrics.json", "samples index")) for line in view.problems)
    assert "Left out of this page" in render(view)
    shutil.rmtree(root / "trees")
    shutil.rmtree(root / "attempts")
    assert "not in the store" in render(gather(open_store(root), RUN))


def test_an_empty_run_has_a_page_too(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    view = gather(store, "never-existed")
    assert view.status == "empty"
    assert "Nothing has been recorded" in render(view)


def board_of(tmp_path: Path, **start: object) -> Board:
    example = Example(tmp_path)
    begin(example, dict.fromkeys(("photos", "pairs", "teacher", "evaluate"), "run"))
    board = Board()
    board.started = board.last = 1000.0
    board.start = {"host": socket.gethostname(), **start}  # type: ignore[dict-item]
    return board


def test_a_run_without_an_end_is_running_while_its_driver_lives(tmp_path: Path) -> None:
    import os

    assert run_status(board_of(tmp_path, pid=os.getpid()), 1e6) == "running"
    assert run_status(board_of(tmp_path, pid=2**22 + 1), 1000.0) == "interrupted"
    assert run_status(board_of(tmp_path, pid=1, host="elsewhere"), 1010.0) == "running"
    assert run_status(board_of(tmp_path, pid=1, host="elsewhere"), 2000.0) == "interrupted"


def test_a_live_run_can_be_reported(tmp_path: Path) -> None:
    example = Example(tmp_path)
    begin(example, dict.fromkeys(("photos", "pairs", "teacher", "evaluate"), "run"))
    example.emit("stage.started", "photos", key=key("photos"), attempt=0, how="run", partitions={"total": 9, "done": 0})
    example.record.flush()
    view = gather(example.store, RUN)
    assert view.status == "running"
    assert [stage.state for stage in view.stages] == ["running", "queued", "queued", "queued"]
    assert "0 built of 9" in render(view)


def test_the_report_lies_with_the_run_and_where_asked(finished: Store, tmp_path: Path) -> None:
    inside = write_report(finished, RUN)
    assert inside is not None
    assert inside.parts[-3:] == ("runs", RUN, "report.html")
    outside = write_report(finished, RUN, tmp_path / "new" / "page.html")
    assert outside is not None
    assert outside.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_writing_the_quickstart_report_is_quick(finished: Store) -> None:
    write_report(finished, RUN)
    started = time.process_time()
    write_report(finished, RUN)
    assert time.process_time() - started < 0.5


def test_runs_are_found_by_id_by_beginning_and_by_spec(finished: Store) -> None:
    assert find_run(finished, RUN, None) == RUN
    assert find_run(finished, RUN[:8], None) == RUN
    assert find_run(finished, None, "quickstart") == RUN
    with pytest.raises(UsageError, match=r"there is no run 'nope'.*the latest are"):
        find_run(finished, "nope", None)
    with pytest.raises(UsageError, match="no run of the spec 'other'"):
        find_run(finished, None, "other")


def test_a_run_in_a_list(finished: Store) -> None:
    line = run_line(finished, RUN)
    assert (line.spec, line.status, line.seconds, line.built, line.reused, line.total) == (
        "quickstart", "ok", 134.2, 3, 1, 4,
    )  # fmt: skip
