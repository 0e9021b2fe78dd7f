"""What a stage warns of is told to people, once, and changes nothing that is built."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from pipelines.events import Event
from pipelines.executors.task import Outcome
from pipelines.executors.warned import LONGEST, MOST, Heard, Tally
from pipelines.progress.display import LiveDisplay
from pipelines.progress.lines import JsonLines, PlainLines
from pipelines.report.render import render
from pipelines.report.view import gather
from tests.support.workspace import Ran, Workspace

WARNS = "tests.support.warning_stages:Warns"


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def told(ran: Ran) -> list[tuple[str | None, object, object, object]]:
    return [(e.stage, e.data["text"], e.data["partition"], e.data["count"]) for e in ran.of("stage.warning")]


def test_a_warning_is_told_with_its_stage_before_the_commit_and_not_when_the_result_is_reused(work: Workspace) -> None:
    work.spec(f"odd: {{uses: '{WARNS}'}}")
    ran = work.run()
    assert told(ran) == [("odd", "odd: 0.107", None, 1)]
    kinds = [event.type for event in ran.events]
    assert kinds.index("stage.warning") < kinds.index("stage.committed")
    again = work.run()
    assert (again.reused, told(again)) == (["odd"], [])


def test_a_unit_that_fails_tells_what_it_warned_of_and_its_failure_is_no_warning(work: Workspace) -> None:
    work.spec(f"odd: {{uses: '{WARNS}', with: {{fail: true, texts: [one, two, one]}}}}")
    ran = work.run()
    assert ran.status == "failed"
    assert told(ran) == [("odd", "one", None, 1), ("odd", "two", None, 1)]


def test_equal_texts_of_partitions_are_told_once_with_their_number(work: Workspace) -> None:
    work.spec(f"odd: {{uses: '{WARNS}InParts', resources: {{workers: 1}}}}")
    ran = work.run()
    assert told(ran) == [("odd", "odd: 0.107", "0", 3), ("odd", "partition 1 is odd besides", "1", 1)]
    page = render(gather(work.store, ran.result.run))
    listed = page[page.index('id="warnings"') : page.index('id="pipeline"')]
    assert "2 warnings" in listed
    assert '<b>odd</b> odd: 0.107 <span class="muted">3 partitions, the first is 0</span>' in listed


def test_a_stage_that_stops_at_a_partition_tells_what_was_warned_of_until_then(work: Workspace) -> None:
    work.spec(f"odd: {{uses: '{WARNS}InParts', with: {{fail: true}}, resources: {{workers: 1}}}}")
    ran = work.run()
    assert ran.status == "failed"
    assert told(ran) == [("odd", "odd: 0.107", "0", 2), ("odd", "partition 1 is odd besides", "1", 1)]


def test_what_a_stage_warns_of_is_in_no_key_manifest_or_row(work: Workspace) -> None:
    work.spec(f"odd: {{uses: '{WARNS}InParts'}}")
    work.run()
    odd = work.plan().stages["odd"]
    assert work.states("stages.odd.with.texts=[]") == {"odd": "cached"}
    rows = work.store.parts(odd.identity.family).load()
    written = [rows[key].entries for key in rows] + [work.store.trees.get(digest) for digest in odd.outputs.values()]
    assert "odd:" not in repr(written)
    assert "warning" not in repr(written)


def test_displays_show_a_warning_also_when_quiet() -> None:
    event = Event("stage.warning", "pairs", {"text": "two\nlines", "partition": "4", "count": 17}, 1.0)
    for quiet in (False, True):
        stream = io.StringIO()
        PlainLines(stream, quiet=quiet).emit(event)
        assert stream.getvalue() == "    0.0 s  pairs: warning: two lines (17 partitions, the first is 4)\n"
    stream = io.StringIO()
    JsonLines(stream).emit(event)
    assert Event.from_json(json.loads(stream.getvalue())) == event
    stream = io.StringIO()
    LiveDisplay(stream).emit(event)
    assert "! pairs: warning: two lines (17 partitions, the first is 4)" in stream.getvalue()


def test_a_unit_keeps_a_bounded_number_of_short_texts_and_says_how_many_more_there_were() -> None:
    log, heard = logging.getLogger("sharpline.test-warned"), Heard()
    with heard.listening(log):
        for i in range(MOST + 10):
            log.warning("%d %s", i, "x" * 2 * LONGEST)
    log.warning("nobody listens any more")
    assert len(heard.texts) == MOST
    assert heard.texts[-1] == "11 more warnings of this unit: see its log"
    assert max(map(len, heard.texts)) == LONGEST


def test_a_stage_tells_a_bounded_number_of_texts_however_many_partitions_differ() -> None:
    events: list[Event] = []
    tally = Tally("pairs", events.append)
    for i in range(1000):
        tally.add(str(i), [f"image {i} is odd"])
    tally.close()
    assert len(events) == MOST + 1
    assert events[-1].data["text"] == "other warnings of 980 units stand in the log"


def test_outcomes_carry_warnings_and_those_written_before_had_none() -> None:
    outcome = Outcome(warnings=("one", "two"))
    assert Outcome.from_text(outcome.to_text()) == outcome
    data = json.loads(outcome.to_text())
    del data["warnings"]
    assert Outcome.from_text(json.dumps(data)).warnings == ()
