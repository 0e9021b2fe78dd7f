"""Faults in every place where a stage, an executor or a store can break: what is told, kept and given back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pipelines.errors import ClusterLost
from pipelines.executors.local import LocalExecutor
from pipelines.ledger import needs_of
from pipelines.scheduler import Options
from pipelines.stage import Resources
from pipelines.store.holder import Holder
from tests.support.cli import Sharpline, events
from tests.support.workspace import Ran, Workspace

HOSTILE = "tests.support.hostile_stages"
OTHER = "other: {uses: 'toy:Noop', with: {n: 7}}\n"
KEEP_GOING = Options(keep_going=True)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def spec(work: Workspace, *stages: str) -> None:
    work.spec("".join(stages).replace("hostile:", f"{HOSTILE}:"))


def error_of(ran: Ran, stage: str) -> dict[str, str]:
    return next(event.data["error"] for event in ran.of("stage.failed") if event.stage == stage)


def claims_given_back(work: Workspace) -> bool:
    logs = [work.store.key_log(folder.replace("-", ":")) for folder in os.listdir(work.folder / ".sharpline/keys")]
    return all(log.state().holder is None for log in logs)


class TestTheStagesOwnCode:
    @pytest.mark.parametrize(
        ("at", "message"),
        [
            ("exit", "told to exit"),
            ("facet", "role"),
            ("meta", "when"),
            ("outputs", "outputs broke"),
            ("nothing written", "nothing was written"),
        ],
    )
    def test_a_unit_that_breaks_fails_its_stage_and_nothing_else(self, work: Workspace, at: str, message: str) -> None:
        flag = work.folder / "flag"
        spec(work, f"bad: {{uses: 'hostile:Hostile', with: {{at: {at}, flag: '{flag}'}}}}\n", OTHER)
        ran = work.run(options=KEEP_GOING)
        assert (ran.status, ran.built) == ("failed", ["other"])
        error = error_of(ran, "bad")
        assert message in error["message"]
        assert error["kind"] == "user"
        assert claims_given_back(work)

    @pytest.mark.parametrize(
        ("at", "message"),
        [("partitions", "partitions broke"), ("twins", "'1'"), ("params", "rate"), ("finish", "finish broke")],
    )
    def test_partitions_that_cannot_be_made_or_put_together(self, work: Workspace, at: str, message: str) -> None:
        spec(work, f"bad: {{uses: 'hostile:Parts', with: {{at: {at}}}}}\n", OTHER)
        ran = work.run(options=KEEP_GOING)
        assert (ran.status, ran.built) == ("failed", ["other"])
        error = error_of(ran, "bad")
        assert message in error["message"]
        assert error["kind"] == "user"
        if "broke" in message:
            assert f"in {at}" in error["frame"]
        assert claims_given_back(work)

    def test_a_plan_calls_such_a_stage_blocked_and_shows_the_users_line(self, work: Workspace) -> None:
        spec(work, "bad: {uses: 'hostile:Parts', with: {at: partitions}}\n", OTHER)
        assert work.states() == {"bad": "blocked", "other": "run"}
        assert "partitions broke" in work.why("bad")
        assert "hostile_stages.py" in work.why("bad")

    def test_sources_that_cannot_be_listed_or_hashed(self, work: Workspace) -> None:
        (work.folder / "files").mkdir()
        spec(work, "bad: {uses: 'hostile:Folder', with: {files: ./files}}\n", OTHER)
        (work.folder / "files" / "a").touch()
        ran = work.run("stages.bad.with.at=hash_sources", options=KEEP_GOING)
        assert (error_of(ran, "bad")["message"], ran.built) == ("hash_sources broke", ["other"])
        (work.folder / "files" / "broken").touch()
        assert work.states()["bad"] == "blocked"
        assert "list_sources broke" in error_of(work.run(options=KEEP_GOING), "bad")["message"]
        assert claims_given_back(work)

    def test_bytes_that_vanish_before_the_commit_fail_one_stage(self, work: Workspace) -> None:
        spec(work, "bad: {uses: 'hostile:Parts', with: {at: store}}\n", OTHER)
        ran = work.run(options=KEEP_GOING)
        assert ran.built == ["other"]
        assert error_of(ran, "bad")["kind"] == "store"
        assert claims_given_back(work)

    def test_two_partitions_of_one_name_among_many_are_found_at_once(self, work: Workspace) -> None:
        spec(work, "bad: {uses: 'hostile:Parts', with: {at: twins, n: 30000}}\n")
        started = time.process_time()  # comparing each with each takes minutes
        assert "'1'" in work.why("bad")
        assert time.process_time() - started < 5


class TestSources:
    @pytest.fixture
    def files(self, work: Workspace) -> Path:
        folder = work.folder / "files"
        folder.mkdir()
        for name in "ab":
            (folder / name).touch()
        return folder

    def test_two_stages_may_hash_one_folder_differently(self, work: Workspace, files: Path) -> None:
        spec(work, "whole: {uses: 'hostile:Folder', with: {files: ./files}}\n")
        assert work.run().partitions == ["whole[a]", "whole[b]"]
        spec(work, "halves: {uses: 'hostile:Halves', with: {files: ./files}}\n")
        assert work.run().partitions == ["halves[a-1]", "halves[a-2]", "halves[b-1]", "halves[b-2]"]

    def test_finish_knows_the_sources(self, work: Workspace, files: Path) -> None:
        spec(work, "whole: {uses: 'hostile:Folder', with: {files: ./files}}\n")
        work.run()
        assert work.text("whole", "names.txt") == "a b"

    def test_a_source_that_changes_while_its_key_is_held_is_never_stored_under_the_old_key(
        self, work: Workspace, files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec(work, "whole: {uses: 'hostile:Folder', with: {files: ./files}}\n")
        old = work.plan().stages["whole"].identity.key
        held = work.store.key_log(old).try_claim(Holder.current("another"))
        assert held is not None

        def change_and_let_go(_: object, holder: Holder) -> bool:
            (files / "c").touch()
            held.release()
            return False

        monkeypatch.setattr("pipelines.store.heartbeat.Liveness.dead", change_and_let_go)
        ran = work.run()
        assert ran.status == "ok"
        assert sorted(ran.partitions) == ["whole[a]", "whole[b]", "whole[c]"]
        assert work.store.key_log(old).state().committed is None
        assert work.states() == {"whole": "cached"}

    def test_an_interrupt_while_hashing_ends_at_once(self, work: Workspace, files: Path) -> None:
        spec(work, "whole: {uses: 'hostile:Folder', with: {files: ./files, seconds: 30}}\n")
        process = Sharpline(cwd=work.folder).start("run", "spec.yaml", "--executor", "local", "--json")
        keys = work.folder / ".sharpline" / "keys"
        while not list(keys.glob("*/000000.json")):
            time.sleep(0.05)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=40)
        assert time.monotonic() - started < 10
        assert (process.returncode, "Traceback" in out + err) == (130, False)
        assert claims_given_back(work)


class TestTheRunAsAWhole:
    def test_an_executor_that_does_not_start_ends_the_run_and_gives_claims_back(
        self, work: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec(work, "one: {uses: 'toy:Noop', with: {n: 1}}\n", OTHER)
        started = []

        def unreachable(*_: object) -> None:
            started.append(1)
            raise ClusterLost("nobody there")

        monkeypatch.setattr("pipelines.run.make_executor", unreachable)
        with pytest.raises(ClusterLost):
            work.run(options=KEEP_GOING)
        assert started == [1]
        assert claims_given_back(work)

    def test_a_cluster_that_goes_away_leaves_no_stage_running_in_the_record(
        self, work: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec(work, "one: {uses: 'hostile:Parts'}\n", "two: {uses: 'toy:Noop', inputs: {after: [one]}}\n")

        def lost(*_: object) -> None:
            raise ClusterLost("went away")

        monkeypatch.setattr(LocalExecutor, "wait", lost)
        with pytest.raises(ClusterLost):
            work.run()
        assert claims_given_back(work)
        record = work.store.run(work.store.runs()[-1])
        assert {name: stage["state"] for name, stage in record.stages().items()} == {"one": "skipped", "two": "skipped"}
        assert "went away" in str(record.stages()["one"]["because"])
        assert record.read_events()[-1]["status"] == "failed"

    def test_a_claim_lost_while_preparing_is_waited_for(self, work: Workspace) -> None:
        (work.folder / "files").mkdir()
        (work.folder / "files" / "a").touch()
        spec(work, "whole: {uses: 'hostile:Folder', with: {files: ./files, seconds: 3}}\n")
        process = Sharpline(cwd=work.folder).start("run", "spec.yaml", "--executor", "local", "--json")
        log = work.store.key_log(work.plan().stages["whole"].identity.key)
        while log.state().holder is None:
            time.sleep(0.05)
        thief = log.take_over(log.state(), Holder.current("thief"))
        assert thief is not None
        assert process.stdout is not None
        while '"stage.waiting"' not in (line := process.stdout.readline()):
            assert line, "it ended without having waited"
        thief.release()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err

    def test_after_a_failure_nothing_new_starts(self, work: Workspace) -> None:
        """Not a stage that was being prepared, and not one whose holder lets go."""
        (work.folder / "files").mkdir()
        for name in "ab":
            (work.folder / "files" / name).touch()
        spec(
            work,
            "prepared: {uses: 'hostile:Folder', with: {files: ./files, seconds: 1}}\n",
            "held: {uses: 'toy:Noop', with: {n: 3}}\n",
            "bad: {uses: 'toy:Fail', with: {how: user}}\n",
        )
        claim = work.store.key_log(work.plan().stages["held"].identity.key).try_claim(Holder.current("another"))
        assert claim is not None
        started = time.monotonic()
        ran = work.run()
        assert time.monotonic() - started < 1.9
        assert (ran.status, ran.built, ran.partitions) == ("failed", [], [])
        assert sorted(ran.stages("stage.skipped")) == ["held", "prepared"]
        assert ran.stages("stage.started") == ["bad"]

    def test_an_interrupt_from_the_keyboard_reaches_every_process_and_none_complains(self, work: Workspace) -> None:
        spec(work, "many: {uses: 'hostile:Parts', with: {n: 50, seconds: 0.3}}\n")
        process = Sharpline(cwd=work.folder).start("run", "spec.yaml", "--executor", "local", "--json")
        assert process.stdout is not None
        while "partition.done" not in process.stdout.readline():
            pass
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in out + err
        assert claims_given_back(work)

    def test_a_store_that_takes_nothing_more_ends_with_a_sentence(
        self, work: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        from pipelines.cli.main import main
        from pipelines.store.backends.local import LocalObjects

        spec(work, "one: {uses: 'toy:Noop', with: {n: 1}}\n")
        put = LocalObjects.put

        def full(self: LocalObjects, key: str, data: bytes) -> None:
            if key.startswith("runs/") and "stages/" in key:
                raise self._failed("write", key, OSError(28, "No space left on device"))
            put(self, key, data)

        monkeypatch.setattr(LocalObjects, "put", full)
        assert main(["run", str(work.file), "--executor", "local", "--quiet"]) == 1
        said = capfd.readouterr().err
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert claims_given_back(work)


class TestCodeEditedMeanwhile:
    STAGE = """
from pathlib import Path
from pipelines.stage import Config, Output, Partition, Stage
from mine import helper

class Edit(Stage):
    name = "mine.stage:Edit"
    class Config(Config):
        pass
    @classmethod
    def outputs(cls, config, inputs):
        return {"out": Output("metrics")}
    @classmethod
    def partitions(cls, config, inputs, sources):
        file = Path(__file__).with_name("helper.py")
        file.write_text(file.read_text().replace("old", "new"))
        return [Partition("only")]
    def run_partition(self, ctx, partition):
        ctx.out["out"].path("metrics.json").write_text(helper.WORD)
"""

    def test_bytes_of_new_code_are_never_stored_under_the_key_of_the_old(self, work: Workspace) -> None:
        package = work.folder / "mine"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "helper.py").write_text("WORD = 'old'\n")
        (package / "stage.py").write_text(self.STAGE)
        work.file.write_text("sharpline: 1\nname: own\ncode: [./mine]\nstages:\n  edit: {uses: 'mine.stage:Edit'}\n")
        done = Sharpline()("run", work.file, "--executor", "local", "--json")
        failed = [event for event in events(done.out) if event["type"] == "stage.failed"]
        assert [event["stage"] for event in failed] == ["edit"]
        assert "edited while the run was going" in failed[0]["error"]["message"]


class TestResources:
    def test_a_unit_that_asks_for_nothing_counts_as_one_core(self) -> None:
        assert needs_of(Resources(cpus=0)).as_dict() == {"CPU": 1.0}
        assert needs_of(Resources(cpus=0, gpus=1)).as_dict() == {"GPU": 1.0}
