"""``sharpline verify`` as people use it: exit codes, words, JSON, S3, and making partitions again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.store.store import open_store
from pipelines.store.trees import manifest_bytes, read_manifest
from tests.support.damage import Breakable, flip
from tests.support.s3 import BUCKET, s3_server
from tests.support.workspace import Workspace

SPEC = """
    shards: {uses: 'toy:Shards', with: {n: 4, mood: MOOD}}
    joined: {uses: 'toy:Join', inputs: {texts: shards}}
    clock: {uses: 'toy:Clock', with: {reproducible: false}}
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
