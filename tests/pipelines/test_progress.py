"""What a terminal, a pipe and a machine see of a run."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.canonical import Json
from pipelines.events import Event
from pipelines.progress.board import Board, StageLine
from pipelines.progress.display import LiveDisplay, display_for
from pipelines.progress.lines import JsonLines, PlainLines
from pipelines.progress.rates import Rate
from pipelines.progress.summary import file_url, summary
from pipelines.progress.table import choose
from pipelines.progress.text import ASCII, UNICODE, clip, duration, glyphs_for, rate

ERROR: Json = {
    "kind": "user", "type": "ValueError", "message": "expected 3 channels, got 4\nsee the docs",
    "frame": "my/stage.py:41 in blur\n    kernel = gaussian(size)", "traceback": "Traceback ...\n" * 40,
}  # fmt: skip


class Script:
    """Events at stated seconds after the start."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, at: float, kind: str, stage: str | None = None, **data: Json) -> None:
        self.events.append(Event(kind, stage, data, 1000.0 + at))


def failing_run() -> list[Event]:
    say = Script()
    say(0, "run.started", run="r1", spec="quickstart", executor="local", argv=["run", "my spec.yaml"], store="/s")
    say(0, "stage.planned", "photos", uses="ingest.images", state="cached", reasons=[], key="k1:a")
    say(
        0, "stage.planned", "pairs", uses="degrade.pairs", state="resume", reasons=["photos: 1 image added"], key="k1:b"
    )
    say(0, "stage.planned", "teacher", uses="train.resshift", state="pending", reasons=[], key=None)
    say(0.1, "stage.reused", "photos", key="k1:a", outputs={})
    say(0.2, "stage.started", "pairs", key="k1:b", attempt=0, how="resume", partitions={"total": 8, "done": 2})
    for i in range(3, 8):
        say(10.0 * (i - 2), "partition.done", "pairs", partition=str(i), seconds=9.0, done=i, total=8)
    say(55, "stage.retry", "pairs", partition="7", error="worker lost", left=2, delay=1)
    say(60, "stage.failed", "pairs", partition="7", error=ERROR, log="/s/attempts/k1-b/0/log")
    say(60, "stage.skipped", "teacher", because="pairs failed")
    say(61, "run.finished", status="failed", seconds=61.0, built=0, reused=1, failed=1, skipped=1)
    say(61, "report.written", report="/s/runs/r1/report.html")
    return say.events


def played(display: PlainLines | JsonLines, events: list[Event]) -> None:
    with display as sink:
        for event in events:
            sink.emit(event)


def test_plain_output_is_one_line_an_event_and_sparse_progress() -> None:
    stream = io.StringIO()
    played(PlainLines(stream), failing_run())
    assert stream.getvalue().splitlines() == [
        "    0.0 s  run r1 of quickstart, local executor",
        "    0.0 s  pairs: resume (photos: 1 image added)",
        "    0.0 s  teacher: pending",
        "    0.1 s  photos: reused",
        "    0.2 s  pairs: resumed, 8 partitions, 2 of them already done",
        "     40 s  pairs: 75%, 6 of 8 parts, 6.0 parts/min, 20 s left",
        "     55 s  pairs: retry: pairs[7]: worker lost; trying again (2 left)",
        "✗ pairs[7] failed: ValueError: expected 3 channels, got 4",
        "    my/stage.py:41 in blur",
        "      kernel = gaussian(size)",
        "    see the docs",
        "  log      /s/attempts/k1-b/0/log",
        " 1 m 00 s  teacher: skipped (pairs failed)",
        "✗ quickstart failed after 1 m 01 s: 1 reused, 1 failed, 1 skipped",
        "  reused   photos",
        "  skipped  teacher",
        "  store    /s",
        "  report   file:///s/runs/r1/report.html",
        "  continue sharpline run 'my spec.yaml'",
    ]


def test_quiet_keeps_problems_and_the_end() -> None:
    stream = io.StringIO()
    played(PlainLines(stream, quiet=True), failing_run())
    lines = stream.getvalue().splitlines()
    assert "retry" in lines[0]
    assert "pairs[7] failed" in lines[1]
    assert not any("started" in line for line in lines)
    assert lines[-1].endswith("sharpline run 'my spec.yaml'")


def test_json_is_the_event_stream_itself() -> None:
    stream = io.StringIO()
    events = failing_run()
    played(JsonLines(stream), events)
    assert [Event.from_json(json.loads(line)) for line in stream.getvalue().splitlines()] == events


def test_a_good_run_ends_with_what_ran_and_without_a_command() -> None:
    say = Script()
    say(0, "run.started", run="r", spec="q", argv=["run", "q.yaml"], store="/s")
    for i in range(9):
        say(1, "stage.committed", f"s{i}", key="k", attempt=0, how="built", outputs={}, seconds=1.5)
    say(3, "run.finished", status="ok", seconds=3.0)
    assert [str(row) for row in summary(Board.replay(say.events), ASCII)] == [
        "+ q finished after 3.0 s: 9 built",
        "  built    s0 1.5 s, s1 1.5 s, s2 1.5 s, s3 1.5 s, s4 1.5 s, s5 1.5 s and 3 more",
        "  store    /s",
    ]


def test_a_run_without_an_end_counts_as_interrupted_and_says_how_to_go_on() -> None:
    board = Board.replay(failing_run()[:6])
    text = "\n".join(str(row) for row in summary(board, ASCII))
    assert "quickstart interrupted" in text
    assert "2 not started" not in text  # pairs is running
    assert "sharpline run 'my spec.yaml'" in text


def test_a_defect_of_ours_shows_its_traceback_and_the_users_failure_does_not() -> None:
    say = Script()
    say(0, "stage.failed", "a", error={"kind": "internal", "type": "KeyError", "message": "'x'", "traceback": "TRACE"})
    assert "TRACE" in "\n".join(map(str, summary(Board.replay(say.events), ASCII)))
    assert "Traceback" not in "\n".join(map(str, summary(Board.replay(failing_run()), ASCII)))


def test_an_explained_stage_error_is_its_message_alone() -> None:
    say = Script()
    error: Json = {"kind": "user", "type": "StageError", "message": "lower batch_size", "frame": "ours.py:1 in f"}
    say(0, "stage.failed", "a", error=error, log="/log")
    rows = [str(row) for row in summary(Board.replay(say.events), ASCII)]
    assert rows[:2] == ["x a failed: lower batch_size", "  log      /log"]


def test_streams_without_unicode_get_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    played(PlainLines(stream), [*failing_run(), Event("stage.failed", "x", {"error": "naïve ✗"}, 1070)])
    assert b"x pairs[7] failed" in raw.getvalue()
    assert glyphs_for("ascii") is ASCII
    assert glyphs_for("latin-1") is ASCII
    assert glyphs_for("no such codec") is ASCII
    assert glyphs_for("utf-8") is UNICODE


def test_a_live_terminal_without_unicode_shows_what_it_can() -> None:
    from rich.console import Console

    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with LiveDisplay(stream, console=Console(file=stream, force_terminal=True, width=80, height=20)) as display:
        for event in [*failing_run(), Event("stage.failed", "größe", {"error": "naïve ✗"}, 1070)]:
            display.emit(event)
    assert b"na?ve" in raw.getvalue()


def test_a_reader_that_went_away_does_not_end_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    played(PlainLines(Gone()), failing_run())
    played(JsonLines(Gone()), failing_run())


def test_control_characters_in_a_message_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    played(
        PlainLines(stream),
        [Event("stage.failed", "a", {"error": {"type": "E", "message": "\x1b[2Jgone\nand \x1b[1m"}}, 1.0)],
    )
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("width", [1, 20, 59, 60, 90, 300])
@pytest.mark.parametrize("height", [3, 24])
def test_the_live_table_survives_every_size(width: int, height: int) -> None:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=None)
    with LiveDisplay(stream, clock=lambda: 1056.0, console=console) as display:
        for event in failing_run():
            display.emit(event)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    if width >= 60:
        assert "pairs[7] failed" in text
        assert "quickstart failed after 1 m 01 s" in text


def test_the_live_table_shows_bar_rate_and_time_left() -> None:
    from rich.console import Console

    from pipelines.progress.table import LiveTable

    console = Console(width=110, height=30, color_system=None, file=io.StringIO())
    board = Board.replay(failing_run()[:9])
    with console.capture() as capture:
        console.print(LiveTable(board, UNICODE, lambda: 1032.0))
    rows = [line.rstrip() for line in capture.get().splitlines()]
    assert rows[0].startswith("↷ photos  reused")
    assert re.fullmatch(r"● pairs   resuming ━{18}─{10}\s+62%\s+6\.\d parts/min\s+\d\d s left", rows[1]), rows[1]
    assert rows[2] == "○ teacher queued"


@pytest.mark.parametrize("width", [44, 59, 60, 80, 90, 200])
def test_no_row_of_the_table_is_wider_than_the_terminal(width: int) -> None:
    from rich.console import Console

    from pipelines.progress.table import stage_table

    stage = StageLine(
        "unet@mode=hr,optimizer=adamw,seed=12", phase="running", done=3, total=9, unit="steps", started=0.0
    )
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(stage_table([stage], width, 61.0, UNICODE))
    (row,) = capture.get().splitlines()
    assert len(row) <= width
    assert row.startswith("● unet")
    assert "running" in row
    assert "33%" in row
    assert "1 m 01 s" in row


def test_two_hundred_stages_fold_into_the_window_in_their_own_order() -> None:
    stages = [StageLine(f"s{i:03d}") for i in range(200)]
    for i in range(120):
        stages[i].phase = "done" if i % 2 else "reused"
    stages[50].phase, stages[150].phase = "failed", "running"
    shown, folded = choose(stages, 20)
    assert len(shown) == 20
    assert len(shown) + len(folded) == 200
    assert [s.name for s in shown] == sorted(s.name for s in shown)
    assert {"s050", "s150", "s120"} <= {s.name for s in shown}


def test_displays_by_stream() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(display_for(io.StringIO()), PlainLines)
    assert isinstance(display_for(Terminal(), json=True), JsonLines)
    assert isinstance(display_for(Terminal(), quiet=True), PlainLines)
    assert isinstance(display_for(Terminal()), LiveDisplay)


# ---------------------------------------------------------------- rates


def test_a_steady_pace_gives_its_rate_and_a_countdown() -> None:
    pace = Rate()
    for second in range(0, 60, 2):
        pace.add(float(second), second * 5.0)
    assert pace.per_second(58.0) == pytest.approx(5.0)
    assert pace.eta(58.0, 390.0) == pytest.approx(20.0)
    assert pace.eta(58.1, 390.0) == pytest.approx(19.9)  # it counts down between samples


def test_work_found_done_is_no_speed() -> None:
    pace = Rate()
    pace.add(0.0, 1900.0)
    assert pace.eta(0.0, 2000.0) is None
    pace.add(10.0, 1910.0)
    assert pace.per_second(10.0) == pytest.approx(1.0)


def test_a_stall_slows_the_estimate_and_recovery_forgets_it() -> None:
    pace = Rate(tau=20.0)
    for second in range(30):
        pace.add(float(second), float(second))
    assert pace.per_second(29.0) == pytest.approx(1.0)
    assert (pace.per_second(89.0) or 0) < 0.4
    for second in range(90, 200):
        pace.add(float(second), second - 60.0)
    assert pace.per_second(199.0) == pytest.approx(1.0, rel=0.05)


def test_a_restart_from_an_earlier_step_starts_afresh() -> None:
    pace = Rate()
    pace.add(0.0, 0.0)
    pace.add(10.0, 100.0)
    pace.add(12.0, 40.0)
    assert pace.per_second(12.0) is None
    pace.add(14.0, 60.0)
    assert pace.per_second(14.0) == pytest.approx(10.0)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e9)), max_size=30), st.floats(0, 1e7))
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_samples_breaks_the_estimate(samples: list[tuple[float, float]], now: float) -> None:
    pace = Rate()
    for at, done in samples:
        pace.add(at, done)
    assert (pace.per_second(now) or 0) >= 0
    assert (pace.eta(now, 1e9) or 0) >= 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "done", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip
TYPES = [
    *(f"run.{word}" for word in ("started", "finished", "new")),
    *(f"stage.{word}" for word in ("planned", "waiting", "started", "progress", "retry", "new")),
    *(f"stage.{word}" for word in ("committed", "reused", "failed", "skipped")),
    "partition.done",
]
FIELDS = ["spec", "argv", "state", "reasons", "partitions", "done", "total", "partition", "error", "outputs", "seconds"]


@given(
    st.lists(st.tuples(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)), max_size=8)
)
@settings(max_examples=120, deadline=None)
def test_no_event_however_odd_stops_the_display(rows: list[tuple[str, dict[str, Json]]]) -> None:
    events = [
        Event(kind, None if kind.startswith("run") else "s", data, 5.0 + i) for i, (kind, data) in enumerate(rows)
    ]
    stream = io.StringIO()
    played(PlainLines(stream), events)
    assert not any(line != line.strip("\n") for line in stream.getvalue().splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 m 00 s"), (3725, "1 h 02 m"), (90000, "1 d 01 h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_rates_names_and_urls() -> None:
    assert rate(12.34, "steps") == "12.3 steps/s"
    assert rate(0.05, "parts") == "3.0 parts/min"
    assert rate(0.0001, "") == "0.4/h"
    assert clip("unet@mode=hr,seed=1", 12, "…") == "unet@mod…d=1"
    assert file_url("/a b/report.html") == "file:///a%20b/report.html"
    assert file_url("s3://bucket/x") == "s3://bucket/x"
