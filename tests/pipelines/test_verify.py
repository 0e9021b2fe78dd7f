"""``sharpline verify`` as people use it: exit codes, words, JSON, S3, and making partitions again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import main
from pipelines.store.parts import PartRows
from pipelines.store.store import open_store
from pipelines.store.trees import manifest_bytes, read_manifest
from tests.support.damage import Breakable, flip, rewrite
from tests.support.s3 import BUCKET, s3_server
from tests.support.workspace import Workspace, chain

SPEC = """
    shards: {uses: 'toy:Shards', with: {n: 4, mood: MOOD}}
    joined: {uses: 'toy:Join', inputs: {texts: shards}}
    clock: {uses: 'toy:Clock', with: {reproducible: false}}
"""

LOOSE = """
from dataclasses import replace

from tests.support.toy_stages import Shards

class Loose(Shards):
    name = "loose.stages:Loose"

    @classmethod
    def outputs(cls, config, inputs):
        return {slot: replace(output, reproducible=False) for slot, output in super().outputs(config, inputs).items()}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Breakable:
    work = Workspace(tmp_path_factory.mktemp("verified"))
    work.spec(SPEC.replace("MOOD", str(work.folder / "mood")))
    work.run()
    return Breakable(work)


def everything(store: Breakable) -> dict[str, tuple[int, int]]:
    files = [file for file in (store.work.folder / ".sharpline").rglob("*") if file.is_file()]
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def test_an_intact_store_exits_with_0_and_is_not_written_to(
    store: Breakable, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(store)
    assert main(["verify", str(store.work.file)]) == 0
    assert everything(store) == before
    assert "all that was verified is intact" in capsys.readouterr().out


def test_damage_exits_with_3_names_entry_and_partition_and_tells_the_command(
    store: Breakable, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.file("shards", "texts", "shard-1.txt")
    flip(path)
    try:
        assert main(["verify", str(store.work.file)]) == 3
        said = capsys.readouterr().out
        assert "texts/shard-1.txt: damaged: its sha256 is" in said
        assert "(shards[1])" in said
        assert f"`sharpline repair {store.work.file}` restores" in said
        assert main(["verify", str(store.work.file), "--format", "json", "joined"]) == 0
        assert main(["verify", str(store.work.file), "--format", "json"]) == 3
        last = capsys.readouterr().out.rpartition('{\n  "schema"')[2]
        bad = [stage["bad"] for stage in json.loads('{\n  "schema"' + last)["stages"]]
        assert [(f["entry"], f["fault"], f["partition"]) for f in bad[0]] == [("shard-1.txt", "damaged", "1")]
        assert bad[1:] == [[], []]
    finally:
        flip(path)


def test_what_is_not_built_is_said(store: Breakable, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(store.work.file), "--set", "stages.shards.with.n=5"]) == 0
    said = capsys.readouterr().out
    assert "shards  not built" in said
    assert "not built: needs shards" in said


def test_a_store_that_is_not_there_is_not_made(store: Breakable, tmp_path: Path) -> None:
    for command in ("verify", "repair"):
        assert main([command, str(store.work.file), "--store", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("share", ["0%", "101", "few", "nan"])
def test_a_wrong_share_is_a_usage_error(store: Breakable, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(store.work.file), "--resynthesise", share]) == 2
    assert "expected a share such as 1%" in capsys.readouterr().err


def test_every_flipped_bit_of_a_manifest_is_found(store: Breakable) -> None:
    digest = store.outputs("shards")["texts"]
    raw = store.work.store.objects.get(f"trees/{digest}.json")
    assert manifest_bytes(read_manifest(raw, digest, "here", exactly=True)) == raw
    for place in range(len(raw)):
        wrong = bytearray(raw)
        wrong[place] ^= 1 << (place % 7)
        with pytest.raises(Exception, match=r"damaged|newer"):
            read_manifest(bytes(wrong), digest, "here", exactly=True)


class TestMakingPartitionsAgain:
    def test_an_honest_stage_gives_the_same_bytes_and_the_store_is_only_read(self, store: Breakable) -> None:
        before = everything(store)
        redone = store.resynthesise(100)
        assert (sorted(redone["shards"].partitions), redone["shards"].differences) == (["0", "1", "2", "3"], ())
        assert "no partitions" in redone["joined"].said
        assert everything(store) == before

    def test_a_stage_that_changed_its_mind_is_found_out(
        self, store: Breakable, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mood, before = store.work.folder / "mood", everything(store)
        mood.write_text("angry")
        try:
            assert main(["verify", str(store.work.file), "shards", "--resynthesise", "25%"]) == 3
        finally:
            mood.unlink()
        assert everything(store) == before  # the other bytes are nowhere
        said = capsys.readouterr().out
        stored = store.work.store.trees.get(store.outputs("shards")["texts"])
        assert any(f"stored {e.sha256} ({e.size} bytes), now " in said for e in stored.entries)
        assert "1 of 4 partitions made again: comes out different" in said
        assert "with others the key would be another" in said

    def test_the_choice_is_repeatable_and_another_seed_makes_another(self) -> None:
        from pipelines.stage import Partition
        from pipelines.verify.resynthesis import chosen

        parts = [(Partition(str(i)), f"{i:064x}") for i in range(1000)]
        assert chosen(parts, 1, 0) == chosen(parts[::-1], 1, 0)
        assert len(chosen(parts, 1, 0)) == 10
        assert len(chosen(parts[:3], 1, 0)) == 1
        assert chosen(parts, 1, 0) != chosen(parts, 1, 1)


class TestBookkeeping:
    """Damage in what says where things are: partition tables and key logs."""

    @pytest.fixture
    def own(self, store: Breakable, tmp_path: Path) -> Breakable:
        """A copy, to be broken and repaired."""
        shutil.copytree(store.work.folder / ".sharpline", tmp_path / ".sharpline")
        work = Workspace(tmp_path)
        work.spec(SPEC.replace("MOOD", str(store.work.folder / "mood")))
        return Breakable(work)

    def test_a_damaged_row_is_named_and_its_partition_made_again(
        self, own: Breakable, capsys: pytest.CaptureFixture[str]
    ) -> None:
        segment = next((own.work.folder / ".sharpline/parts").rglob("*.jsonl"))
        place = segment.relative_to(own.work.folder / ".sharpline")
        rows, content = len(table(own)), own.content()
        lines = segment.read_bytes().split(b"\n")
        lines[2] = lines[2].replace(b'"name":"', b'"name":"x', 1)
        rewrite(segment, b"\n".join(lines))
        assert set(own.work.states().values()) == {"cached"}
        assert main(["verify", str(own.work.file)]) == 3
        assert f"damaged row 2 of {place}; it counts as absent" in capsys.readouterr().out
        assert main(["repair", str(own.work.file), "--executor", "local"]) == 0
        assert f"✓ row 2 of {place}: restored (was damaged)" in capsys.readouterr().out
        assert (len(table(own)), table(own).bad) == (rows, [])
        assert own.content() == content
        assert main(["verify", str(own.work.file)]) == 0

    def test_a_damaged_row_of_what_is_not_made_again_is_dropped(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work = Workspace(tmp_path)
        work.spec("shards: {uses: 'loose.stages:Loose', with: {n: 2}}")
        (tmp_path / "loose").mkdir()
        (tmp_path / "loose/__init__.py").touch()
        (tmp_path / "loose/stages.py").write_text(LOOSE)
        work.file.write_text(work.file.read_text().replace("code: [", "code: [./loose, "))
        assert work.run().status == "ok"
        flip(next((tmp_path / ".sharpline/parts").rglob("*.jsonl")))
        assert main(["verify", str(work.file)]) == 3
        assert main(["repair", str(work.file), "--executor", "local"]) == 0
        said = capsys.readouterr().out
        assert ": dropped, its partition is built again when it is needed (was damaged)" in said
        assert work.states() == {"shards": "cached"}
        assert main(["verify", str(work.file)]) == 0

    def test_damaged_rows_of_what_is_not_committed_run_again(self, own: Breakable) -> None:
        segment = next((own.work.folder / ".sharpline/parts").rglob("*.jsonl"))
        flip(segment)
        shutil.rmtree(own.work.folder / ".sharpline/keys")
        assert "1 of 4 partitions left" in own.work.why("shards")
        ran = own.work.run()
        assert (ran.status, len(ran.partitions), table(own).bad) == ("ok", 1, [])

    def test_a_damaged_record_is_named_and_its_stage_can_be_had_again(
        self, own: Breakable, capsys: pytest.CaptureFixture[str]
    ) -> None:
        identity = own.work.plan().stages["shards"].identity
        assert identity is not None
        folder = own.work.folder / ".sharpline/keys" / identity.key.replace(":", "-")
        record = folder / "000001.json"
        before, content = record.read_bytes(), own.content()
        rewrite(record, before.replace(b'"commit"', b'"commht"'))
        for command in (["plan"], ["run", "--executor", "local"]):
            assert main([command[0], str(own.work.file), *command[1:]]) == 1
            said = capsys.readouterr().err
            assert f"{folder.name}/000001.json is damaged: its seal does not fit" in said
        for command in (["verify"], ["repair", "--executor", "local"]):
            assert main([command[0], str(own.work.file), *command[1:]]) == 3
            said = capsys.readouterr().out
            assert f"{folder.name}/000001.json is damaged: its seal does not fit; it cannot be repaired" in said
        assert record.read_bytes() != before
        folder.rename(own.work.folder / "away")  # as the message says
        ran = own.work.run()
        assert (ran.status, ran.partitions, ran.built) == ("ok", [], ["shards"])
        assert own.content() == content
        assert main(["verify", str(own.work.file)]) == 0

    def test_a_damaged_log_of_an_earlier_key_and_a_damaged_hint_lose_explanations_only(self, own: Breakable) -> None:
        changed = ("stages.shards.with.n=5", "stages.clock.with.reproducible=true")
        assert "n: 4" in own.work.why("shards", *changed)
        for record in (own.work.folder / ".sharpline/keys").glob("*/000001.json"):
            flip(record)
        assert "never built here" in own.work.why("shards", *changed)
        for hint in (own.work.folder / ".sharpline/latest").rglob("*.json"):
            rewrite(hint, b"{")
        assert "never built here" in own.work.why("shards", *changed)


def table(store: Breakable) -> PartRows:
    identity = store.work.plan().stages["shards"].identity
    assert identity is not None
    return store.work.store.parts(identity.family).load()


class TestWhatWasNotLookedAt:
    def told(self, capsys: pytest.CaptureFixture[str], work: Workspace, *command: str) -> tuple[int, Any, str]:
        """Exit code, what JSON says of (intact, complete), and the text."""
        codes, said = set(), []
        for form in ("text", "json"):
            codes.add(main([command[0], str(work.file), *command[1:], "--format", form]))
            said.append(capsys.readouterr().out)
        data = json.loads(said[1])
        (code,) = codes
        return code, (data["intact"], data["complete"]), said[0]

    def test_sources_that_are_away_leave_nothing_verified(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work = chain(tmp_path)
        assert work.run().status == "ok"
        assert self.told(capsys, work, "verify")[:2] == (0, (True, True))
        (tmp_path / "texts").rename(tmp_path / "moved")
        for command in (["verify"], ["repair", "--executor", "local"]):
            code, intact, said = self.told(capsys, work, *command)
            assert (code, intact) == (1, (None, False))
            assert "nothing was verified" in said
            assert "not, or not wholly, looked at: source, upper, joined" in said
            assert "is intact" not in said

    def test_partitions_that_cannot_be_told_are_not_called_intact(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work = chain(tmp_path)
        assert work.run().status == "ok"
        flip(Breakable(work).manifest_file("source", "texts"))
        code, intact, said = self.told(capsys, work, "verify", "upper", "joined")
        assert (code, intact) == (1, (None, False)), said
        assert "what could be verified is intact" in said
        assert "its partitions could not be looked at" in said
        assert "not, or not wholly, looked at: upper" in said

    def test_nothing_built_is_nothing_verified(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        work = chain(tmp_path)
        assert work.store.url  # opening it makes it
        code, intact, said = self.told(capsys, work, "verify")
        assert (code, intact) == (1, (None, False))
        assert "nothing was verified" in said


def test_on_s3_damage_is_seen_past_the_local_cache_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPLINE_CACHE", str(tmp_path / "cache"))
    with s3_server():
        work = Workspace(tmp_path, f"s3://{BUCKET}/verify")
        work.spec("shards: {uses: 'toy:Shards', with: {n: 3}}\njoined: {uses: 'toy:Join', inputs: {texts: shards}}\n")
        assert work.run().status == "ok"
        store, objects = Breakable(work), open_store(work.store.url).objects
        manifest = work.store.trees.get(store.outputs("shards")["texts"])
        one, two = (manifest.entry(f"shard-{i}.txt").sha256 for i in (0, 2))
        work.store.blobs.open(one)  # now the cache has it
        right = {info.key: objects.get(info.key) for room in ("blobs", "trees") for info in objects.list(room)}
        objects.put(f"blobs/{one[:2]}/{one}", b"rotten")
        objects.delete(f"blobs/{two[:2]}/{two}")
        assert store.bad() == {
            "shards.texts/shard-0.txt": f"truncated: expected {manifest.entry('shard-0.txt').size} bytes, has 6",
            "shards.texts/shard-2.txt": "missing",
        }
        done, ran = store.repair()
        assert (done.left, ran.partitions) == ((), ["shards[0]", "shards[2]"])
        assert {key: objects.get(key) for key in right} == right
        assert [objects.get(key) for key in done.aside.values()] == [b"rotten"]
