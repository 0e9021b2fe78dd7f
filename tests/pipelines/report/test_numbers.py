"""Charts, metric tables, histograms and the way the page spells numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.canonical import Json
from pipelines.report import words
from pipelines.report.artifacts import histogram
from pipelines.report.charts import chart, nice_ticks, short, smoothed, thin_out
from pipelines.report.model import Curve
from pipelines.report.observations import curves_of
from pipelines.report.tables import direction, metric_tables, name_models, with_observed


def test_models_stand_beside_the_bicubic_baseline_with_signed_deltas() -> None:
    (table,) = metric_tables(
        {
            "protocol": {"name": "classic-y", "crop_border": 4, "luma": True},
            "models": {"teacher": {"psnr_y": 26.0, "lpips": 0.25}, "bicubic": {"psnr_y": 24.5, "lpips": 0.5}},
        }
    )
    assert table.columns == ("psnr_y", "lpips")
    assert [label for label, _ in table.rows] == ["bicubic", "teacher"]
    psnr, lpips = table.rows[1][1]
    assert (psnr.delta, psnr.better, psnr.best) == (1.5, True, True)
    assert (lpips.delta, lpips.better) == (-0.25, True)
    assert table.facts == (("name", "classic-y"), ("crop_border", "4"), ("luma", "yes"))


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ({"psnr": 1.0, "ssim": 0.5}, [("", 1, 2)]),
        ({"set5": {"a": {"psnr": 1}}, "b100": {"a": {"psnr": 2}, "b": {"psnr": 3}}}, [("set5", 1, 1), ("b100", 2, 1)]),
        ({"datasets": {"set5": {"models": {"a": {"psnr": 1}}}}}, [("set5", 1, 1)]),
        ({"models": {"a": {"psnr": 1, "note": "x"}, "b": {}}}, [("", 1, 1)]),
        ({"time": {"mean": 1}, "models": {"a": {"psnr": 1}}}, [("time", 1, 1), ("", 1, 1)]),
        ([1, 2], []), ("text", []), ({}, []), (None, []), ({"a": {"b": None}}, []),
    ],
)  # fmt: skip
def test_any_nesting_of_numbers_becomes_tables(data: Json, shape: list[tuple[str, int, int]]) -> None:
    assert [(t.title, len(t.rows), len(t.columns)) for t in metric_tables(data)] == shape


def test_models_are_called_as_their_stages_are() -> None:
    (table,) = metric_tables({"models": {"resshift-2d6edac883a1": {"psnr": 2}, "bicubic": {"psnr": 1}}})
    named = name_models(table, {"2d6edac883a1": "teacher"})
    assert [label for label, _ in named.rows] == ["bicubic", "teacher"]


def test_what_was_observed_of_a_row_once_stands_beside_its_numbers() -> None:
    models = {"resshift-2d6edac883a1@steps=15": {"psnr_y": 2, "evaluations": 15}, "bicubic": {"psnr_y": 1}}
    table = name_models(metric_tables({"models": models})[0], {"2d6edac883a1": "teacher"})
    values = {"teacher@steps=15/psnr_y": 2.0, "teacher@steps=15/seconds_per_image": 0.25, "other/speed": 1.0}
    values["bicubic/seconds_per_image"] = 0.001
    seen = curves_of([{"step": 32, **values}, *({"step": n, "loss/bicubic": 0.5} for n in (1, 2))])
    shown = with_observed(table, seen)
    assert shown.columns == ("psnr_y", "evaluations", "seconds_per_image")
    assert [(label, cells[-1].value) for label, cells in shown.rows] == [
        ("bicubic", 0.001), ("teacher@steps=15", 0.25),
    ]  # fmt: skip
    assert with_observed(table, ()) == table


def test_what_is_not_finite_is_a_blank() -> None:
    (table,) = metric_tables({"models": {"a": {"psnr": float("nan")}, "bicubic": {"psnr": 1.0}}})
    assert table.rows[1][1][0].value is None


def test_directions() -> None:
    assert [direction(m) for m in ("psnr_y", "SSIM", "lpips", "total_seconds", "ms_per_image", "images")] == [
        1, 1, -1, -1, -1, 0,
    ]  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=900))
@settings(max_examples=40, deadline=None)
def test_any_curve_can_be_drawn(points: list[tuple[float, float]]) -> None:
    drawn = chart(Curve("loss", tuple(sorted(points))))
    assert "nan" not in drawn.linear.raw + drawn.linear.smooth
    assert len(drawn.points) <= 400
    assert (drawn.log is not None) == all(y > 1e-30 for _, y, _ in drawn.points)


def test_thinning_keeps_spikes_and_ends() -> None:
    points = [(float(i), 1.0) for i in range(5000)]
    points[1234] = (1234.0, 99.0)
    thin = thin_out(points)
    assert len(thin) <= 400
    assert points[1234] in thin
    assert thin[0] == points[0]
    assert thin[-1] == points[-1]
    assert [x for x, _ in thin] == sorted(x for x, _ in thin)


def test_smoothing_keeps_a_line_and_calms_noise() -> None:
    line = [(float(i), 2.0 * i) for i in range(100)]
    assert smoothed(line)[30:70] == pytest.approx([y for _, y in line][30:70])
    noise = smoothed([(float(i), (-1.0) ** i) for i in range(100)])
    assert max(abs(v) for v in noise[10:90]) < 0.2


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=100, deadline=None)
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span, 5)
    slack = span * 1e-6
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
    assert len(ticks) <= 11


def test_axis_numbers_are_short() -> None:
    assert [short(v) for v in (0, 0.05, 3e-5, 4.5e-5, 1200, 2_500_000, 3e12)] == [
        "0", "0.05", "3e-5", "4.5e-5", "1.2k", "2.5M", "3e12",
    ]  # fmt: skip


def test_a_step_seen_twice_counts_once_and_the_later_one_wins() -> None:
    (loss,) = curves_of([{"step": 2, "loss": 5.0}, {"step": 1, "loss": 9.0}, {"step": 2, "loss": 4.0, "time": 1.0}])
    assert loss.points == ((1.0, 9.0), (2.0, 4.0))


def test_rows_that_are_no_metrics_are_left_out() -> None:
    assert curves_of([{"loss": 1.0}, {"step": "x", "loss": 1}, {"step": 1, "loss": math.inf, "who": "me"}]) == ()


def test_histograms_count_every_finite_value() -> None:
    found = histogram("sigma", [0.0, 1.5, 1.5, 3.0, float("nan")], bins=2)
    assert found is not None
    assert (found.low, found.high, found.counts, found.mean) == (0.0, 3.0, (1, 3), 1.5)
    whole = histogram("size", [7.0, 9.0, 9.0, 11.0])
    assert whole is not None
    assert whole.counts == (1, 0, 2, 0, 1)
    assert histogram("flat", [1.0, 1.0]) is None
    assert histogram("none", []) is None


def test_words() -> None:
    assert [words.size(v) for v in (0, 999, 1000, 99_600, 31_400_000, 2e12)] == [
        "0 B", "999 B", "1.0 kB", "100 kB", "31.4 MB", "2.0 TB",
    ]  # fmt: skip
    assert words.metric_name("psnr_y") == "PSNR Y"
    assert words.metric_name("train/learning_rate") == "Train learning rate"
    assert words.metric_value(25.916, "psnr_y") == "25.92"
    assert words.metric_value(0.77134, "ssim") == "0.7713"
    assert words.metric_value(None) == "–"
    assert words.metric_delta(-0.143, "lpips") == "−0.1430"
    assert words.moment(0) == "1 January 1970, 00:00 UTC"
