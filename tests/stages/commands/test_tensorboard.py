"""tensorboard: what a store holds is what TensorBoard's own reader finds; every step once, however training went."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from typer.testing import CliRunner

from pipelines.errors import UsageError
from pipelines.report.render import render
from pipelines.report.view import gather
from pipelines.store.store import Store, open_store
from stages.commands import tensorboard
from tests.support.example_pictures import loss_rows, renderings
from tests.support.example_run import RUN, key, quickstart
from tests.support.workspace import Ran, Workspace


def export(*arguments: str | Path) -> str:
    app = typer.Typer()
    app.command()(tensorboard.command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def curve(folder: Path, name: str) -> dict[int, float]:
    """By the framework that people read it with; a step that stands in the files twice is an error."""
    seen = EventAccumulator(str(folder)).Reload().Scalars(name)
    steps = [step for file in sorted(folder.glob("events*")) for step in raw_steps(file, name)]
    assert steps == [event.step for event in seen] == sorted(set(steps))
    return {event.step: event.value for event in seen}


def raw_steps(file: Path, name: str) -> list[int]:
    events = list(LegacyEventFileLoader(str(file)).Load())
    return [event.step for event in events for value in event.summary.value if value.tag == name]


def only(logdir: Path) -> Path:
    (folder,) = logdir.iterdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return quickstart(tmp_path)


def test_values_pictures_and_settings_come_back_as_they_were_recorded(store, tmp_path):
    said = export(RUN[:12], "--store", store.url, "--logdir", tmp_path / "tb")
    folder = tmp_path / "tb" / f"teacher-{key('teacher')[3:11]}"  # the evaluation has no curve: the report shows it
    assert said.splitlines()[-1] == f"tensorboard --logdir {tmp_path / 'tb'}"
    rows = {int(row["step"]): row["loss"] for row in loss_rows(200)}
    assert only(tmp_path / "tb") == folder
    assert curve(folder, "loss") == pytest.approx(rows, rel=1e-6)
    reader = EventAccumulator(str(folder)).Reload()
    (early,), (late,) = reader.Images("sample/000050"), reader.Images("sample/000200")
    assert (early.step, late.step) == (50, 200)
    assert late.encoded_image_string == renderings("coffee", 128)["teacher"] != early.encoded_image_string
    assert (late.width, late.height) == (128, 128)
    (text,) = reader.Tensors("settings")[0].tensor_proto.string_val
    assert json.loads(text.decode().strip("`json\n"))["training"]["learning_rate"] == 0.0005
    hparams = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"training.learning_rate" in hparams


def test_a_second_export_adds_only_what_is_new(store, tmp_path):
    logdir = tmp_path / "tb"
    export(RUN, "--store", store.url, "--logdir", logdir)
    before = {path: path.read_bytes() for path in only(logdir).iterdir()}
    assert export(RUN, "--store", store.url, "--logdir", logdir).count("\n") == 1
    assert {path: path.read_bytes() for path in only(logdir).iterdir()} == before
    attempt = store.attempt(key("teacher"), 0)
    attempt.append("metrics", [{"step": 210, "time": 1.8e9, "loss": 0.5}, {"step": 220, "time": 1.8e9, "loss": None}])
    assert "1 values, up to step 210" in export(RUN, "--store", store.url, "--logdir", logdir)
    events = [path for path in before if path.name.startswith("events")]
    assert {path: path.read_bytes() for path in events} == {path: before[path] for path in events}
    assert max(curve(only(logdir), "loss")) == 210


def test_what_a_killed_export_left_is_written_anew(store, tmp_path):
    logdir = tmp_path / "tb"
    export(RUN, "--store", store.url, "--logdir", logdir)
    loss = curve(only(logdir), "loss")
    (file,) = only(logdir).glob("events*")
    file.write_bytes(file.read_bytes()[:-7])
    assert "written anew" in export(RUN, "--store", store.url, "--logdir", logdir)
    assert curve(only(logdir), "loss") == loss


def test_a_training_that_failed_resumed_was_extended_and_rebuilt_is_one_curve(tmp_path):
    """Steps 6 and 7 are made twice; `steps: 14` is another key, whose attempt goes on from step 10 of the first."""
    work, logdir = Workspace(tmp_path), tmp_path / "tb"
    work.texts(a="one")
    work.spec("""
        source: {uses: "toy:Texts", with: {source: ./texts}}
        model: {uses: "toy:Trainer", inputs: {texts: source}, with: {steps: 10}, retries: 0}
    """)

    def loss(ran: Ran) -> dict[int, float]:
        export(ran.result.run, "--store", work.store.url, "--logdir", logdir)
        return curve(only(logdir), "loss")

    failed = work.run("stages.model.with.die_at=7")
    assert failed.status == "failed"
    assert list(loss(failed)) == [*range(1, 8)]
    resumed = loss(work.run())
    assert list(resumed) == [*range(1, 11)]
    extended = work.run("stages.model.with.steps=14")
    assert list(loss(extended)) == [*range(1, 15)]
    assert loss(extended).items() >= resumed.items()
    shown = gather(open_store(work.store.url), extended.result.run).stages[-1]
    assert [step for step, _ in shown.curves[0].points] == [*range(1, 15)]  # the report shows the same
    assert list(loss(work.run("stages.model.with.steps=14", rebuild=["model"]))) == [*range(1, 15)]


def test_a_training_of_one_recorded_step_is_one_and_shown(tmp_path):
    work, logdir = Workspace(tmp_path), tmp_path / "tb"
    work.texts(a="one")
    work.spec("""
        source: {uses: "toy:Texts", with: {source: ./texts}}
        model: {uses: "toy:Trainer", inputs: {texts: source}, with: {steps: 1}}
    """)
    ran = work.run()
    export(ran.result.run, "--store", work.store.url, "--logdir", logdir)
    assert list(curve(only(logdir), "loss")) == [1]
    view = gather(open_store(work.store.url), ran.result.run)
    assert [len(found.points) for found in view.stages[-1].curves] == [1]
    page = render(view)
    training = page[page.index('<section id="training">') : page.index('<section id="environment">')]
    assert "<h3>model</h3>" in training
    assert re.search(r'class="raw" d="M[\d. ]+h8"', training)  # a dash: a path of one point is not drawn


def test_following_ends_with_the_run_and_a_store_gives_the_place_to_write_to(store):
    export(RUN, "--store", store.url, "--follow")
    assert curve(only(Path(store.url) / "tensorboard" / "quickstart"), "loss")
    with pytest.raises(UsageError, match=r"there is no run 'nope'.*the latest are"):
        export("nope", "--store", store.url)
