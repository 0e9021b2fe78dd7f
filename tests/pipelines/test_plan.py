"""What a plan says of each stage, and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.graph import build_graph
from pipelines.plan import Planner
from pipelines.scheduler import Options
from pipelines.spec.load import load_spec
from tests.support.workspace import Workspace

SPEC = """
    source: {uses: "toy:Texts", with: {source: ./texts}}
    upper:
      uses: toy:Upper
      inputs: {texts: source}
      with:
        suffix: "!"
    model:
      uses: toy:Trainer
      inputs: {texts: upper}
      with:
        steps: 10
        optimizer: {rate: 0.5}
"""


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.texts(a="one", b="two", c="three")
    workspace.spec(SPEC)
    return workspace


def test_a_first_plan_runs_the_source_and_waits_with_the_rest(work: Workspace) -> None:
    assert work.states() == {"source": "run", "upper": "pending", "model": "pending"}
    assert work.why("source") == "never built here"
    assert work.why("upper") == "waits for source"


def test_a_finished_run_is_cached_and_planning_writes_nothing(work: Workspace) -> None:
    work.run()
    before = sorted(p for p in work.folder.rglob("*"))
    assert set(work.states().values()) == {"cached"}
    assert not work.plan().has_work
    assert sorted(p for p in work.folder.rglob("*")) == before


def test_a_changed_value_is_named_with_both_values_file_and_line(work: Workspace) -> None:
    work.run()
    text = work.file.read_text()
    work.file.write_text(text.replace("rate: 0.5", "rate: 0.25"))
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "rate" in row)
    assert work.states() == {"source": "cached", "upper": "cached", "model": "run"}
    why = work.why("model")
    assert "with.optimizer.rate: 0.5 -> 0.25" in why
    assert f"spec.yaml:{line}" in why


def test_a_value_of_the_command_line_is_placed_there(work: Workspace) -> None:
    work.run()
    assert work.why("model", "stages.model.with.optimizer.rate=0.25").endswith("0.5 -> 0.25 (--set #1)")


def test_a_changed_partitioned_stage_makes_what_follows_pending(work: Workspace) -> None:
    work.run()
    assert work.states("stages.upper.with.suffix=x") == {"source": "cached", "upper": "run", "model": "pending"}
    assert "cached if the same bytes come out" in work.why("model", "stages.upper.with.suffix=x")


def test_going_back_to_earlier_settings_finds_the_earlier_result(work: Workspace) -> None:
    work.run()
    work.run("stages.upper.with.suffix=x")
    assert set(work.states().values()) == {"cached"}


def test_a_new_file_is_named_before_anything_is_read(work: Workspace) -> None:
    work.run()
    work.texts(dog="woof")
    why = work.why("source")
    assert "dog.txt" in why
    assert "1" in why


def test_a_missing_source_blocks_and_says_where_it_was_looked_for(work: Workspace) -> None:
    states = work.states("stages.source.with.source=./nowhere")
    assert states == {"source": "blocked", "upper": "blocked", "model": "blocked"}
    assert "nowhere" in work.why("source", "stages.source.with.source=./nowhere")


def test_raising_steps_resumes_from_the_finished_training(work: Workspace) -> None:
    work.run()
    stage = work.plan("stages.model.with.steps=20").stages["model"]
    assert (stage.state, stage.done, stage.total, stage.unit) == ("resume", 10, 20, "steps")


def test_a_horizon_in_a_section_of_the_config_is_found(work: Workspace) -> None:
    work.spec("model: {uses: 'tests.support.hostile_stages:Nested', with: {training: {steps: 6}}}")
    assert work.run("stages.model.with.die_at=4").status == "failed"
    stage = work.plan().stages["model"]
    assert (stage.state, stage.done, stage.total, stage.unit) == ("resume", 4, 6, "steps")


def test_a_selection_without_its_upstream_is_blocked_and_says_what_to_type(work: Workspace) -> None:
    spec = load_spec(work.file, ())
    plan = Planner(spec, build_graph(spec), work.store).plan({"upper"})
    assert {name: stage.state for name, stage in plan.stages.items()} == {"upper": "blocked"}
    assert "--select +upper" in str(plan.stages["upper"].reasons[0])


def test_a_stage_downstream_that_is_to_be_rebuilt_does_not_promise_to_be_cached(work: Workspace) -> None:
    work.run()
    reasons = work.plan(rebuild=["upper", "model"]).stages["model"].reasons
    assert str(reasons[0]) == "--rebuild was given; waits for upper"


def test_an_artifact_that_is_not_in_the_store_blocks_what_needs_it(work: Workspace) -> None:
    work.spec(f"upper: {{uses: 'toy:Upper', inputs: {{texts: 'artifact:{'0' * 64}'}}}}")
    assert work.states() == {"upper": "blocked"}
    assert "is not in" in work.why("upper")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.sampled_from(["add", "change", "remove", "lose", "suffix", "fail", "some"]), min_size=1, max_size=4
    )
)
def test_a_run_does_what_the_plan_says(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Whatever happened before: partitions said to be left are those built, and after a plan of cached nothing is."""
    work = Workspace(tmp_path_factory.mktemp("honest"))
    work.texts(a="one", b="two", c="three")
    work.spec(SPEC.split("    model")[0])
    for number, step in enumerate(steps):
        disturb(work, step, number)
        while (plan := work.plan()).has_work:
            ran = work.run()
            for name, stage in plan.stages.items():
                done = [p for p in ran.partitions if p.startswith(f"{name}[")]
                if stage.state == "cached":
                    assert done == []
                elif stage.work is not None:
                    assert len(done) == len(stage.work.missing), name
            assert ran.status == "ok"
        assert work.run().of("stage.started") == []


def disturb(work: Workspace, step: str, number: int) -> None:
    files = sorted((work.folder / "texts").glob("*.txt"))
    if step in ("add", "change"):
        work.texts(**{f"n{number}" if step == "add" else files[0].stem: f"text {number}"})
    elif step == "remove" and len(files) > 1:
        files[0].unlink()
    elif step == "suffix":
        work.file.write_text(re.sub(r"suffix: .*", f"suffix: x{number}", work.file.read_text()))
    elif step == "fail":
        work.run(f"stages.upper.with.suffix=y{number}", f"stages.upper.with.fail_at={files[0].name}")
    elif step == "some":
        work.run(options=Options(partitions={"upper": frozenset({"0"})}))
    elif step == "lose" and (outputs := work.plan().stages["upper"].outputs):
        entry = work.store.trees.get(outputs["texts"]).entries[0]
        work.store.blobs.open(entry.sha256).unlink()


def test_a_lost_result_that_cannot_be_made_again_stops(work: Workspace) -> None:
    work.spec("clock: {uses: 'toy:Clock', with: {reproducible: false}}")
    work.run()
    digest = work.plan().stages["clock"].outputs["out"]
    work.store.blobs.open(work.store.trees.get(digest).entries[0].sha256).unlink()
    assert work.states() == {"clock": "lost"}
    assert "--rebuild clock" in work.why("clock")
    assert work.run().status == "failed"
    assert work.run(rebuild=["clock"]).built == ["clock"]


class TestCode:
    """First-party code of the user is fingerprinted like ours."""

    STAGE = '''
from pipelines.stage import Config, Output, Stage
from mine.helper import greet

class Hello(Stage):
    """A stage of the user's own."""
    name = "mine.stage:Hello"
    code_policy = "{policy}"
    class Config(Config):
        who: str = "you"
    @classmethod
    def outputs(cls, config, inputs):
        return {{"out": Output("metrics")}}
    def run(self, ctx):
        ctx.out["out"].path("metrics.json").write_text(greet(ctx.config.who))
'''

    @pytest.fixture
    def mine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
        workspace = Workspace(tmp_path)
        package = tmp_path / "mine"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "helper.py").write_text("def greet(who):\n    return f'hello {who}'\n")
        (package / "stage.py").write_text(self.STAGE.format(policy="key"))
        workspace.file.write_text(
            "sharpline: 1\nname: own\ncode: [./mine]\nstages:\n  hi: {uses: 'mine.stage:Hello', with: {}}\n"
        )
        return workspace

    def in_a_new_process(self, work: Workspace, *arguments: str) -> dict[str, dict[str, object]]:
        from tests.support.cli import Sharpline

        return Sharpline().plan(work.file, *arguments)

    def build(self, work: Workspace) -> None:
        from tests.support.cli import Sharpline

        done = Sharpline()("run", work.file, "--executor", "local")
        assert done.code == 0, done.out + done.err

    def test_a_comment_rebuilds_nothing_and_a_helper_two_modules_away_is_named(self, mine: Workspace) -> None:
        self.build(mine)
        helper = mine.folder / "mine" / "helper.py"
        helper.write_text("# a comment\n" + helper.read_text())
        assert self.in_a_new_process(mine)["hi"]["state"] == "cached"
        helper.write_text(helper.read_text().replace("hello", "good day"))
        stage = self.in_a_new_process(mine)["hi"]
        assert stage["state"] == "run"
        assert "mine/helper.py" in str(stage["reasons"])

    def test_advisory_code_keeps_the_result_and_says_so_until_accepted(self, mine: Workspace) -> None:
        from tests.support.cli import Sharpline

        stage = mine.folder / "mine" / "stage.py"
        stage.write_text(self.STAGE.format(policy="advisory"))
        self.build(mine)
        helper = mine.folder / "mine" / "helper.py"
        helper.write_text(helper.read_text().replace("hello", "good day"))
        drifted = self.in_a_new_process(mine)["hi"]
        assert drifted["state"] == "cached"
        assert "mine/helper.py" in str(drifted["reasons"])
        assert Sharpline()("accept", mine.file, "hi").code == 0
        assert self.in_a_new_process(mine)["hi"]["reasons"] == []

    def test_a_result_of_other_advisory_code_is_built_anew_when_asked_and_never_to_heal(self, mine: Workspace) -> None:
        from tests.support.cli import Sharpline

        (mine.folder / "mine" / "stage.py").write_text(self.STAGE.format(policy="advisory"))
        self.build(mine)
        helper = mine.folder / "mine" / "helper.py"
        blobs = mine.folder / ".sharpline" / "blobs"
        helper.write_text(helper.read_text().replace("f'hello {who}'", "'hello ' + who"))
        blob = next(file for file in blobs.rglob("*") if file.is_file() and file.read_text() == "hello you")
        blob.chmod(0o644)
        blob.write_text("jello you")
        sharpline = Sharpline()
        told = sharpline("repair", mine.file, "--executor", "local")
        assert told.code == 3
        assert "hi is not made again: the code that built it changed (mine/helper.py)" in told.out
        plan = self.in_a_new_process(mine)["hi"]
        assert plan["state"] == "lost"
        assert "mine/helper.py" in str(plan["reasons"])
        assert "`--rebuild hi` builds another" in str(plan["reasons"])
        assert sharpline("accept", mine.file, "hi").code == 0
        self.build(mine)  # the same bytes, as was said
        assert blob.read_text() == "hello you"
        helper.write_text(helper.read_text().replace("hello", "good day"))
        told = sharpline("run", mine.file, "--executor", "local", "--rebuild", "hi")
        assert told.code == 0, told.out + told.err
        assert any(file.read_text() == "good day you" for file in blobs.rglob("*") if file.is_file())


def test_a_rebuild_counts_nothing_that_was_made_before_or_for_another_key(work: Workspace) -> None:
    from pipelines.plan import _made_since
    from pipelines.store.parts import PartRow

    work.run()
    stage = work.plan(rebuild=["upper"]).stages["upper"]
    assert (stage.state, stage.done, stage.total) == ("run", 0, 3)
    own, other = f"k1:{'a' * 64}", f"k1:{'b' * 64}"
    made = [PartRow("0" * 64, {}, 1.0, f"{key}/{attempt}", 0.0) for key in (own, other) for attempt in (2, 5)]
    assert [_made_since(row, own, 3) for row in made] == [False, True, False, False]
