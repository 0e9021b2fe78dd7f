"""What runs, what is reused, what goes on: the scheduler on the local executor with small stages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipelines.scheduler import Options
from tests.support.workspace import CHAIN, Workspace, chain


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return chain(tmp_path)


class TestCaching:
    def test_a_second_run_builds_nothing_and_starts_no_executor(
        self, work: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = work.run()
        assert (first.status, first.built, first.reused) == ("ok", ["joined", "source", "upper"], [])
        assert work.text("joined", "joined.txt") == "ONE\nTWO\nTHREE"
        monkeypatch.setattr("pipelines.run.make_executor", lambda *_: pytest.fail("an executor was started"))
        second = work.run()
        assert (second.status, second.built, second.reused) == ("ok", [], ["joined", "source", "upper"])

    def test_a_new_source_file_builds_one_partition_of_each_stage(self, work: Workspace) -> None:
        work.run()
        work.texts(d="four")
        ran = work.run()
        assert ran.partitions == ["source[3]", "upper[3]"]
        assert work.text("joined", "joined.txt").endswith("FOUR")

    def test_files_that_several_earlier_listings_vouch_for_are_taken_once(self, work: Workspace) -> None:
        for name in ("d", "e", "f"):
            work.run()
            work.texts(**{name: name})
        assert work.run().status == "ok"
        assert work.text("joined", "joined.txt") == "ONE\nTWO\nTHREE\nD\nE\nF"

    def test_touching_or_moving_a_source_lists_again_and_rebuilds_nothing_below(self, work: Workspace) -> None:
        work.run()
        for file in (work.folder / "texts").iterdir():
            os.utime(file, (1, 1))
        ran = work.run()
        assert (ran.built, ran.partitions, ran.reused) == (["source"], [], ["joined", "upper"])
        shutil.move(work.folder / "texts", work.folder / "moved")
        assert work.run("stages.source.with.source=./moved").built == []

    def test_a_changed_input_that_gives_the_same_bytes_stops_the_ripple(self, work: Workspace) -> None:
        work.run()
        work.texts(a="One")  # upper case makes it the same again
        ran = work.run()
        assert ran.built == ["source", "upper"]
        assert ran.reused == ["joined"]

    def test_a_removed_file_reuses_what_is_left(self, work: Workspace) -> None:
        work.run()
        (work.folder / "texts" / "b.txt").unlink()
        ran = work.run()
        assert work.text("joined", "joined.txt") == "ONE\nTHREE"
        assert "upper[0]" not in ran.partitions

    def test_execution_fields_and_resources_never_rebuild(self, work: Workspace) -> None:
        work.run()
        assert work.run("stages.upper.with.delay=0.01", "stages.upper.resources.workers=1").built == []

    def test_deleted_bytes_are_built_again(self, work: Workspace) -> None:
        work.run()
        digest = work.plan().stages["joined"].outputs["joined"]
        sha256 = work.store.trees.get(digest).entries[0].sha256
        path = work.store.blobs.open(sha256)
        path.unlink()
        assert "its bytes are gone" in work.why("joined")
        assert work.run().built == ["joined"]
        assert work.store.trees.get(digest).entries[0].sha256 == sha256


class TestRebuild:
    def test_rebuild_builds_one_stage_and_the_same_bytes_stop_there(self, work: Workspace) -> None:
        work.run()
        ran = work.run(rebuild=["upper"])
        assert (ran.built, ran.reused) == (["upper"], ["joined", "source"])
        assert ran.partitions == ["upper[0]", "upper[1]", "upper[2]"]

    def test_a_reproducible_stage_that_comes_out_different_fails_and_keeps_the_first_result(
        self, work: Workspace, tmp_path: Path
    ) -> None:
        work.spec("clock: {uses: 'toy:Clock', with: {}}")
        work.run()
        before = work.plan().stages["clock"].outputs
        ran = work.run(rebuild=["clock"])
        assert ran.status == "failed"
        assert "declared reproducible" in str(ran.of("stage.failed")[0].data["error"])
        assert "clock" in str(ran.of("stage.failed")[0].data["error"])
        assert work.store.key_log(work.plan().stages["clock"].identity.key).state().committed.outputs == before
        assert work.states() == {"clock": "cached"}  # the earlier result is kept: the next run has nothing to do

    def test_several_stages_of_one_chain_are_all_built_again_and_once(self, work: Workspace) -> None:
        work.run()
        ran = work.run(rebuild=["upper", "joined"])
        assert (ran.built, ran.reused) == (["joined", "upper"], ["source"])
        assert work.run().built == []


class TestFailures:
    def test_a_failure_names_the_cause_and_keeps_what_was_finished(self, work: Workspace) -> None:
        ran = work.run("stages.upper.with.fail_at=c.txt", "stages.upper.resources.workers=1")
        assert ran.status == "failed"
        failed = ran.of("stage.failed")[0]
        assert (failed.stage, failed.data["partition"]) == ("upper", "2")
        assert failed.data["error"]["message"] == "c.txt: told to fail here"
        assert "toy_stages.py" in failed.data["error"]["frame"]
        assert ran.stages("stage.skipped") == ["joined"]
        assert work.states("stages.upper.with.fail_at=c.txt")["upper"] == "resume"

    def test_a_finished_partition_whose_bytes_are_gone_is_built_again(self, work: Workspace) -> None:
        failing = ("stages.upper.with.fail_at=c.txt", "stages.upper.resources.workers=1")
        work.run(*failing)
        assessment = work.plan(*failing).stages["upper"]
        row = work.store.parts(assessment.identity.family).load()[assessment.work.keys[0]]
        work.store.blobs.open(row.entries["texts"][0].sha256).unlink()
        assert work.plan(*failing).stages["upper"].work.missing == (0, 2)

    def test_user_errors_are_not_retried(self, work: Workspace) -> None:
        ran = work.run("stages.upper.with.fail_at=a.txt")
        assert ran.of("stage.retry") == []

    def test_keep_going_builds_what_does_not_need_the_failure(self, work: Workspace) -> None:
        work.spec(CHAIN + "    other: {uses: 'toy:Join', inputs: {texts: source}}\n")
        override = "stages.upper.with.fail_at=a.txt"
        ran = work.run(override, options=Options(keep_going=True))
        assert ran.built == ["other", "source"]
        assert ran.partitions == ["source[0]", "source[1]", "source[2]", "upper[1]", "upper[2]"]

    def test_only_the_failed_partitions_are_run_again(self, work: Workspace) -> None:
        work.run("stages.upper.with.fail_at=a.txt", options=Options(keep_going=True))
        # the same key: only an execution field tells the toy to behave
        state = work.plan("stages.upper.with.fail_at=a.txt").stages["upper"]
        assert (state.done, state.total) == (2, 3)

    def test_a_bug_in_a_stage_shows_the_users_frame(self, work: Workspace) -> None:
        work.spec("bad: {uses: 'toy:Fail', with: {how: bug, message: boom}}")
        error = work.run().of("stage.failed")[0].data["error"]
        assert (error["type"], error["message"], error["kind"]) == ("ZeroDivisionError", "boom", "user")
        assert "in run" in error["frame"]

    def test_an_infeasible_request_is_refused_before_anything_starts(self, work: Workspace) -> None:
        ran = work.run("stages.source.resources.gpus=512")
        error = ran.of("stage.failed")[0].data["error"]
        assert "needs 512 GPU" in error["message"]
        assert ran.of("stage.started") == []


class TestTraining:
    SPEC = """
        source: {uses: "toy:Texts", with: {source: ./texts}}
        model: {uses: "toy:Trainer", inputs: {texts: source}, with: {steps: 10, save_every: 4}}
    """

    def test_a_crashed_training_goes_on_from_its_checkpoint(self, work: Workspace) -> None:
        work.spec(self.SPEC)
        assert work.run("stages.model.with.die_at=6").status == "failed"
        assert "checkpoint at step 4 of 10" in work.why("model")
        ran = work.run()
        assert ran.status == "ok"
        committed = ran.of("stage.committed")[-1]
        assert committed.data["how"] == "resumed"
        attempts = work.store.attempts(work.plan().stages["model"].identity.key)
        key = work.plan().stages["model"].identity.key
        assert [r["step"] for r in work.store.attempt(key, attempts[-1]).read("metrics")] == [5, 6, 7, 8, 9, 10]

    def test_raising_steps_continues_and_equals_a_straight_run(self, work: Workspace, tmp_path: Path) -> None:
        work.spec(self.SPEC)
        work.run()
        longer = work.run("stages.model.with.steps=16")
        assert longer.of("stage.committed")[0].data["how"] == "resumed"
        straight = Workspace(tmp_path / "straight")
        straight.folder.mkdir()
        straight.texts(a="one", b="two", c="three")
        straight.spec(self.SPEC)
        other = straight.run("stages.model.with.steps=16")
        assert other.of("stage.committed")[-1].data["outputs"] == longer.of("stage.committed")[0].data["outputs"]

    def test_lowering_steps_ignores_later_checkpoints(self, work: Workspace) -> None:
        work.spec(self.SPEC)
        work.run()
        assert work.run("stages.model.with.steps=3").status == "ok"


class TestSelection:
    def test_one_stage_alone_needs_its_upstream_built(self, work: Workspace) -> None:
        ran = work.run(options=Options(selected=frozenset({"joined"})))
        assert (ran.status, ran.built) == ("failed", [])
        assert set(ran.stages("stage.skipped")) == {"source", "upper"}
        assert "--select +joined" in ran.of("stage.failed")[0].data["error"]["message"]

    def test_an_unknown_partition_is_named_with_those_that_there_are(self, work: Workspace) -> None:
        ran = work.run(options=Options(partitions={"upper": frozenset({"1", "99"})}))
        message = ran.of("stage.failed")[0].data["error"]["message"]
        assert "no partition '99'; it has 3: 0, 1, 2" in message

    def test_some_partitions_only_are_built_and_kept(self, work: Workspace) -> None:
        chosen = Options(selected=frozenset({"source", "upper"}), partitions={"upper": frozenset({"1"})})
        ran = work.run(options=chosen)
        assert "upper[1]" in ran.partitions
        assert "1 of 3 partitions are built" in str(ran.of("stage.skipped")[0].data["because"])
        assert "upper" not in ran.built
        assert work.run().partitions == ["upper[0]", "upper[2]"]
