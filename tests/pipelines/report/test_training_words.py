"""What a training says of itself, as people read it: shares in per cent, pictures of one image beside each other."""

from __future__ import annotations

from pipelines.report.model import Cell, Comparison, Curve, MetricTable, RunView, StageView
from pipelines.report.observations import curves_of
from pipelines.report.pictures import MAX_STEPS, by_step, picture
from pipelines.report.render import render
from pipelines.report.words import metric_name, metric_value, observed_name


def preview(name: str, step: int) -> Comparison:
    made = {"lr": b"lr", "sr": f"sr {step}".encode(), "hr": b"hr"}
    return Comparison(name, tuple(picture(label, data, f"{label} caption") for label, data in made.items()), step)


def test_steps_of_an_image_stand_between_what_it_was_made_of_and_what_it_should_be():
    (first, second) = by_step([preview("b", 20), preview("a", 10), preview("b", 10), preview("a", 20)])
    assert [p.label for p in first.pictures] == ["lr", "step 10", "step 20", "hr"]
    assert [p.data for p in second.pictures] == [b"lr", b"sr 10", b"sr 20", b"hr"]
    assert first.step is None


def test_of_many_steps_some_are_shown_with_the_first_and_the_last():
    (shown,) = by_step([preview("a", step) for step in range(1000, 101_000, 1000)])
    labels = [p.label for p in shown.pictures][1:-1]
    assert len(labels) == MAX_STEPS
    assert (labels[0], labels[-1]) == ("step 1,000", "step 100,000")


def test_shares_are_per_cent_and_throughput_comes_before_where_the_time_went():
    assert (metric_name("flops_share"), metric_value(0.153, "flops_share")) == (
        "Share of the device's peak (MFU)", "15.3 %",
    )  # fmt: skip
    assert metric_value(0.0, "checkpoint_stall") == "0.0 %"
    names = ["step_ms_p95", "checkpoint_stall", "data_wait", "samples_per_second", "flops_share", "validation/psnr"]
    found = curves_of([{"step": 1, "loss": 1.0, **dict.fromkeys(names, 1.0)}])
    assert [curve.name for curve in found][:4] == ["loss", "validation/psnr", "samples_per_second", "flops_share"]


def test_the_loss_of_a_similarity_is_not_titled_as_the_score_of_that_name():
    assert observed_name("autoencoder/ssim") == "Autoencoder 1 - SSIM"
    assert (observed_name("ssim"), observed_name("ms_ssim")) == ("1 - SSIM", "1 - MS-SSIM")
    assert observed_name("validation/psnr") == metric_name("validation/psnr")
    curve = Curve("autoencoder/ssim", ((1, 0.99), (2, 0.97)))
    table = MetricTable("", ("ssim",), (("model", (Cell(0.71),)),))
    stages = (StageView("vae", curves=(curve,)), StageView("scores", tables=(table,)))
    page = render(RunView("run", "spec", "ok", stages=stages))
    assert "<b>Autoencoder 1 - SSIM</b> <output>0.9700</output>" in page
    assert ">SSIM <span" in page  # the score's column, with its arrow
