"""The drawing of the stage graph."""

from __future__ import annotations

import re
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.report.layout import COLUMN_GAP, NODE_HEIGHT, NODE_WIDTH, lay_out

QUICKSTART = {"photos": [], "pairs": ["photos"], "teacher": ["pairs"], "evaluate": ["teacher", "pairs"]}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"s{i}" for i in range(draw(st.integers(0, 18)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:i]), max_size=3, unique=True)) if i else []
        for i, name in enumerate(names)
    }


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_no_two_boxes_touch_and_all_lie_in_the_drawing(graph: dict[str, list[str]]) -> None:
    drawing = lay_out(graph)
    assert [box.name for box in drawing.boxes] == list(graph)
    for i, a in enumerate(drawing.boxes):
        assert a.x >= 0
        assert a.y >= 0
        assert a.x + NODE_WIDTH <= drawing.width
        assert a.y + NODE_HEIGHT <= drawing.height
        for b in drawing.boxes[i + 1 :]:
            assert abs(a.x - b.x) >= NODE_WIDTH or abs(a.y - b.y) >= NODE_HEIGHT


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_every_input_is_an_edge_that_runs_from_left_to_right(graph: dict[str, list[str]]) -> None:
    drawing = lay_out(graph)
    place = {box.name: box for box in drawing.boxes}
    assert {(e.source, e.target) for e in drawing.edges} == {(s, t) for t, sources in graph.items() for s in sources}
    for edge in drawing.edges:
        assert place[edge.source].x + NODE_WIDTH + COLUMN_GAP <= place[edge.target].x + 0.1
        start = re.match(r"M([\d.]+) ([\d.]+)", edge.path)
        assert start is not None
        assert abs(float(start[1]) - place[edge.source].x - NODE_WIDTH) < 0.2


def test_a_long_edge_passes_beside_the_stage_between() -> None:
    drawing = lay_out(QUICKSTART)
    teacher = next(box for box in drawing.boxes if box.name == "teacher")
    edge = next(edge for edge in drawing.edges if (edge.source, edge.target) == ("pairs", "evaluate"))
    (level,) = {float(y) for y in re.findall(r"([\d.]+)H", edge.path)}
    assert not teacher.y <= level <= teacher.y + NODE_HEIGHT


def test_cycles_and_unknown_inputs_are_drawn_as_far_as_they_make_sense() -> None:
    drawing = lay_out({"a": ["b"], "b": ["a"], "c": ["nowhere"]})
    assert len(drawing.boxes) == 3
    assert lay_out({}).boxes == ()


def test_two_hundred_stages_are_laid_out_in_a_moment() -> None:
    wide = {"root": [], **{f"w{i}": ["root"] for i in range(200)}, "end": [f"w{i}" for i in range(200)]}
    deep = {f"d{i}": [f"d{j}" for j in (i - 1, i - 5) if j >= 0] for i in range(200)}
    started = time.process_time()
    lay_out(wide)
    lay_out(deep)
    assert time.process_time() - started < 3
