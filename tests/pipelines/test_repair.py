"""Bytes that rot: verify names exactly what is bad, repair makes exactly that again, and it is what it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import Damaged, LeaseHeld, UsageError
from pipelines.inputs import StoredArtifact
from pipelines.scheduler import Options
from pipelines.store.blobs import Blobs
from pipelines.store.cache import BlobCache
from pipelines.store.heartbeat import Heartbeat
from pipelines.store.holder import Holder
from pipelines.store.store import open_store
from pipelines.store.trees import manifest_bytes
from tests.support.cli import Sharpline, events
from tests.support.damage import Breakable, delete, flip, rewrite, swap, truncate
from tests.support.workspace import Workspace

SPEC = """
    shards: {uses: 'toy:Shards', with: {n: 4, mood: MOOD}}
    joined: {uses: 'toy:Join', inputs: {texts: shards}}
    clock: {uses: 'toy:Clock', with: {reproducible: false}}
"""
SHARD, INDEX = "shards.texts/shard-2.txt", "shards.texts/index.txt"
WHOLE, MANIFEST = "joined.joined/joined.txt", "shards.texts/manifest"
RUNS = {SHARD: ["shards[2]"], INDEX: [], WHOLE: [], MANIFEST: []}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    work = Workspace(folder)
    work.spec(SPEC)
    ran = work.run()
    assert ran.status == "ok", [e.data for e in ran.of("stage.failed")]
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Breakable:
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    work = Workspace(folder)
    work.spec(SPEC.replace("MOOD", str(folder / "mood")))
    return Breakable(work)


def path_of(store: Breakable, name: str) -> Path:
    place, _, entry = name.partition("/")
    stage, slot = place.split(".")
    return store.manifest_file(stage, slot) if entry == "manifest" else store.file(stage, slot, entry)


def untouched(before: dict[str, tuple[bytes, int, int]], after: dict[str, tuple[bytes, int, int]], *bad: Path) -> None:
    """Byte for byte the same objects, and all but `bad` are the very same files."""
    assert {name: found[0] for name, found in after.items()} == {name: found[0] for name, found in before.items()}
    rewritten = {Path(name).name for name in before if before[name][1:] != after[name][1:]}
    assert rewritten == {path.name for path in bad}


class TestOneBadEntry:
    @pytest.mark.parametrize("name", [SHARD, INDEX, WHOLE, MANIFEST])
    @pytest.mark.parametrize(
        ("harm", "word"), [(flip, "damaged"), (truncate, "truncated"), (delete, "missing")], ids=lambda p: str(p)[:12]
    )
    def test_is_named_and_restored_and_nothing_else_is_written(
        self, store: Breakable, name: str, harm: Callable[[Path], None], word: str
    ) -> None:
        before, path = store.content(), path_of(store, name)
        assert store.bad() == {}
        harm(path)
        bad = store.bad()
        assert list(bad) == [name]
        assert bad[name].startswith("damaged" if (name, word) == (MANIFEST, "truncated") else word)
        done, ran = store.repair()
        assert (done.left, [f"{f.stage}.{f.output}/{f.entry}" for f in done.restored]) == ((), [name])
        assert ran.partitions == RUNS[name]
        assert ran.built == [name.partition(".")[0]]
        untouched(before, store.content(), path)
        assert set(store.work.states().values()) == {"cached"}

    @pytest.mark.parametrize(
        ("one", "other", "partitions"),
        [
            (SHARD, "shards.texts/shard-0.txt", ["shards[0]", "shards[2]"]),
            (INDEX, SHARD, ["shards[2]"]),
            (WHOLE, SHARD, ["shards[2]"]),
            (MANIFEST, "joined.counts/manifest", []),
        ],
    )
    def test_two_that_were_swapped_are_told_by_what_they_hold(
        self, store: Breakable, one: str, other: str, partitions: list[str]
    ) -> None:
        before, paths = store.content(), (path_of(store, one), path_of(store, other))
        swap(*paths)
        bad = store.bad()
        assert set(bad) == {one, other}
        if one == SHARD:
            assert bad == {SHARD: "holds the bytes of shard-0.txt", other: "holds the bytes of shard-2.txt"}
        if one == WHOLE:
            assert bad[SHARD] == "holds the bytes of joined.joined/joined.txt"
        done, ran = store.repair()
        assert (done.left, ran.partitions) == ((), partitions)
        untouched(before, store.content(), *paths)
        assert store.bad() == {}

    def test_the_own_entry_of_a_partition_that_a_resume_would_trust(self, store: Breakable) -> None:
        before, path = store.content(), store.file("shards", "texts", "index-3.txt")
        flip(path)
        assert [(f.entry, f.partition) for f in store.verify().bad] == [("index-3.txt", "3")]
        _, ran = store.repair()
        assert ran.partitions == ["shards[3]"]
        untouched(before, store.content(), path)

    def test_the_wrong_bytes_are_kept_for_a_look(self, store: Breakable) -> None:
        path = path_of(store, SHARD)
        flip(path)
        wrong = path.read_bytes()
        done, _ = store.repair()
        assert (store.work.folder / ".sharpline" / done.aside[SHARD]).read_bytes() == wrong

    def test_a_derived_entry_misnamed_in_a_manifest_breaks_its_seal(self, store: Breakable) -> None:
        """The digest of an artifact does not cover derived entries."""
        path = path_of(store, MANIFEST)
        before = path.read_bytes()
        os.chmod(path, 0o644)
        path.write_bytes(before.replace(b'"index.txt"', b'"indey.txt"'))
        assert list(store.bad()) == [MANIFEST]
        store.repair()
        assert path.read_bytes() == before


class TestPlainRuns:
    def test_a_plan_says_what_heals_and_a_run_does_just_that(self, store: Breakable) -> None:
        before, path = store.content(), path_of(store, SHARD)
        delete(path)
        assert "heal 1 of 4 partitions: shard-2.txt is gone" in store.work.why("shards")
        ran = store.work.run()
        assert (ran.partitions, ran.built) == (["shards[2]"], ["shards"])
        untouched(before, store.content(), path)

    def test_a_lost_index_runs_the_end_of_the_stage_only(self, store: Breakable) -> None:
        delete(path_of(store, INDEX))
        assert "all 4 partitions are there, only the end of the stage runs again" in store.work.why("shards")
        ran = store.work.run()
        assert (ran.partitions, ran.built) == ([], ["shards"])

    def test_a_truncated_blob_makes_way_for_the_right_one(self, store: Breakable) -> None:
        before, path = store.content(), path_of(store, SHARD)
        truncate(path)
        assert "gone or truncated" in store.work.why("shards")
        assert store.work.run().partitions == ["shards[2]"]
        untouched(before, store.content(), path)


class TestNothingIsMadeFromDamagedBytes:
    def test_the_index_of_a_partition_is_looked_at_before_it_is_merged(self, store: Breakable) -> None:
        before, path = store.content(), store.file("shards", "texts", "index-2.txt")
        flip(path)
        delete(path_of(store, INDEX))
        error = store.work.run().of("stage.failed")[0].data["error"]
        assert (error["type"], error["kind"]) == ("Damaged", "user")
        assert "index-2.txt" in error["message"]
        assert "`sharpline repair SPEC`" in error["message"]
        assert store.repair()[0].left == ()
        assert {name: found[0] for name, found in store.content().items()} == {n: f[0] for n, f in before.items()}

    def test_a_pack_that_is_damaged_is_not_said_to_have_changed(self, store: Breakable) -> None:
        store.work.spec(SPEC + "    upper: {uses: 'toy:Upper', inputs: {texts: shards}}\n")
        flip(path_of(store, SHARD))
        error = store.work.run().of("stage.failed")[0].data["error"]["message"]
        assert "shard-2.txt of shards is damaged: expected sha256" in error
        assert "`sharpline repair SPEC` makes shard-2.txt again" in error
        assert "changed since" not in error

    @pytest.mark.parametrize("name", ["shard-2.txt", "index.txt"])
    def test_what_is_read_whole_and_an_index_that_is_opened_are_checked(self, store: Breakable, name: str) -> None:
        artifact = StoredArtifact(store.work.store, store.outputs("shards")["texts"], "shards")
        flip(store.file("shards", "texts", name))
        reads = [artifact.read, artifact.table, *([artifact.open] if name == "index.txt" else [])]
        for read in reads:
            with pytest.raises(Damaged, match=f"{name} of shards: .*sharpline repair SPEC"):
                read(name)

    def test_a_local_copy_of_a_remote_blob_that_rots_is_fetched_anew(self, tmp_path: Path) -> None:
        objects, cache = open_store(tmp_path / "far").objects, BlobCache(tmp_path / "cache")
        blobs = Blobs(objects, cache)
        sha256, _ = blobs.add_bytes(b"right")
        rewrite(blobs.open(sha256), b"wrong")
        assert blobs.read_checked(sha256) == b"right"
        rewrite(blobs.open(sha256), b"wrong")
        assert blobs.open_checked(sha256).read_bytes() == b"right"


class TestWhatComesOutDifferent:
    def test_a_wrong_index_that_was_committed_is_replaced_by_a_rebuild(self, store: Breakable) -> None:
        """All digests are right: only making it again shows that it is not what it should be."""
        before, trees = store.content(), store.work.store.trees
        right = trees.get(store.outputs("shards")["texts"])
        other = right.entry("shard-2.txt")
        index = replace(right.entry("index.txt"), sha256=other.sha256, size=other.size)
        wrong = replace(right, entries=(index, *(entry for entry in right.entries if entry.name != index.name)))
        assert wrong.digest == right.digest
        rewrite(path_of(store, MANIFEST), manifest_bytes(wrong))
        assert store.bad() == {}
        assert store.work.run(rebuild=["shards"]).status == "ok"
        assert {name: found[0] for name, found in store.content().items()} == {n: f[0] for n, f in before.items()}

    def test_a_refused_rebuild_leaves_no_row_of_its_own(self, store: Breakable) -> None:
        table = store.work.store.parts(store.work.plan().stages["shards"].identity.family)
        rows, mood = {key: row.entries for key, row in table.load().items()}, store.work.folder / "mood"
        mood.write_text("angry")
        ran = store.work.run(rebuild=["shards"], options=Options(keep_going=True))
        error = ran.of("stage.failed")[0].data["error"]
        assert (ran.status, error["type"], ran.partitions) == ("failed", "NotReproducible", [])
        assert "the earlier result is kept" in error["message"]
        assert {key: row.entries for key, row in table.load().items()} == rows
        mood.unlink()
        assert set(store.work.states().values()) == {"cached"}
        assert store.work.run(rebuild=["shards"]).partitions == [f"shards[{i}]" for i in range(4)]

    def test_replaces_nothing_and_is_told_with_both_digests(self, store: Breakable) -> None:
        path = path_of(store, SHARD)
        flip(path)
        log = store.work.store.parts(store.work.plan().stages["shards"].identity.family)
        rows, kept = dict(log.load()), store.content()
        (store.work.folder / "mood").write_text("angry")
        done, ran = store.repair()
        error = ran.of("stage.failed")[0].data["error"]
        assert error["type"] == "NotReproducible"
        assert f"sha256 {path.name}, now it has" in error["message"]
        assert [f"{f.stage}.{f.output}/{f.entry}" for f in done.left] == [SHARD]
        assert dict(log.load()) == rows
        after = store.content()
        assert {name: after[name] for name in kept if not name.endswith(path.name)} == {
            name: found for name, found in kept.items() if not name.endswith(path.name)
        }
        (store.work.folder / "mood").unlink()
        assert store.repair()[0].left == ()

    def test_what_cannot_be_made_again_is_never_built_unasked(self, store: Breakable) -> None:
        flip(path_of(store, "clock.out/metrics.json"))
        sharpline = Sharpline(cwd=store.work.folder)
        done = sharpline("repair", "spec.yaml", "--executor", "local")
        assert done.code == 3
        assert "--rebuild clock` builds another" in done.out
        assert store.work.states() == {"shards": "cached", "joined": "cached", "clock": "lost"}

    def test_nor_is_what_needs_it_whose_bytes_stay_where_they_are(self, store: Breakable) -> None:
        store.work.spec(SPEC + "    after: {uses: 'toy:Noop', inputs: {after: [clock]}}\n")
        assert store.work.run().status == "ok"
        needs = store.file("after", "out", "metrics.json")
        for path in (needs, path_of(store, "clock.out/metrics.json"), path_of(store, SHARD)):
            flip(path)
        wrong = needs.read_bytes()
        done, ran = store.repair()
        assert (ran.status, ran.built, ran.stages("stage.failed")) == ("ok", ["shards"], [])
        assert list(done.left_out) == ["after"]
        assert "it needs clock, which cannot be made again as it was; `--rebuild clock`" in done.left_out["after"]
        assert needs.read_bytes() == wrong
        told = Sharpline(cwd=store.work.folder)("repair", "spec.yaml", "--executor", "local")
        assert told.code == 3
        assert "after is not made again: it needs clock" in told.out


class TestSeveralAtOnce:
    def test_only_the_given_stages_are_repaired_and_what_was_not_built_stays_so(self, store: Breakable) -> None:
        shard, whole = path_of(store, SHARD), path_of(store, WHOLE)
        store.work.spec(SPEC + "    more: {uses: 'toy:Shards', with: {n: 2}}\n")
        flip(shard)
        flip(whole)
        assert store.repair("shards")[1].built == ["shards"]
        assert list(store.bad()) == [WHOLE]
        assert store.repair("joined")[1].built == ["joined"]
        assert store.work.states()["more"] == "run"

    def test_nothing_is_made_again_from_damaged_inputs(self, store: Breakable) -> None:
        before = [path_of(store, SHARD), path_of(store, WHOLE)]
        for path in before:
            flip(path)
        with pytest.raises(UsageError, match=r"spec\.yaml shards joined"):
            store.repair("joined")
        assert list(store.bad()) == [SHARD, WHOLE]
        assert store.repair()[0].left == ()

    def test_a_live_driver_on_the_same_key_is_waited_for(self, store: Breakable) -> None:
        flip(path_of(store, SHARD))
        opened = store.work.store
        log = opened.key_log(store.work.plan().stages["shards"].identity.key)
        other = Holder.current("another")
        with Heartbeat(opened, other):
            claim = log.try_claim(other, though_done=True)
            assert claim is not None
            with pytest.raises(LeaseHeld, match="another"):
                store.repair(wait=False)
            assert path_of(store, SHARD).exists()  # nothing is set aside under somebody else's claim
            told: list[str] = []

            def let_go(text: str) -> None:
                told.append(text)
                claim.release()

            assert store.repair(say=let_go)[0].left == ()
        assert "waits for run another" in told[0]

    def test_two_repairs_at_once_end_well_and_make_it_once_or_find_it_made(self, store: Breakable) -> None:
        before, path = store.content(), path_of(store, SHARD)
        flip(path)
        both = [Sharpline(cwd=store.work.folder).start("repair", "spec.yaml", "--executor", "local") for _ in range(2)]
        assert [(process.communicate(timeout=120)[1], process.returncode)[1] for process in both] == [0, 0]
        untouched(before, store.content(), path)


def test_a_repair_killed_at_any_moment_goes_on(finished: Path, tmp_path: Path) -> None:
    """kill -9 at several moments of one repair of many shards: the same command ends it."""
    work = Workspace(tmp_path)
    work.spec("shards: {uses: 'toy:Shards', with: {n: 6, delay: 0.3}, resources: {workers: 1}}")
    assert work.run("stages.shards.with.delay=0").status == "ok"
    store = Breakable(work)
    before = store.content()
    paths = [store.file("shards", "texts", f"shard-{i}.txt") for i in range(5)]
    sound = {path: path.read_bytes() for path in paths}
    for path in paths:
        flip(path)
    sharpline, keys = Sharpline(cwd=work.folder), work.folder / ".sharpline" / "damaged"
    process = sharpline.start("repair", "spec.yaml", "--executor", "local")
    _kill_when(process, lambda: len(list(keys.glob("*"))) >= 1)
    process = sharpline.start("repair", "spec.yaml", "--executor", "local")
    _kill_when(process, lambda: sum(path.exists() and path.read_bytes() == sound[path] for path in paths) >= 2)
    told = sharpline("run", "spec.yaml", "--executor", "local", "--json")
    done = [event for event in events(told.out) if event["type"] == "partition.done"]
    assert told.code == 0
    assert len(done) < 5
    assert sharpline("repair", "spec.yaml", "--executor", "local").code == 0
    untouched(before, store.content(), *paths)


def test_shards_of_pairs_heal_one_by_one_to_the_same_bytes(tmp_path: Path) -> None:
    """The real thing: photographs of a folder, pairs with their recipes, an index of the whole."""
    import numpy as np
    from PIL import Image

    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(7)
    for number in range(6):
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((48, 48)).save(tmp_path / f"photos/{number}.png")
    work = Workspace(tmp_path)
    work.spec("""
        images: {uses: ingest.images, with: {source: ./photos, min_size: 32}}
        pairs:
          uses: degrade.pairs
          inputs: {images: images}
          with: {preset: bicubic, hr_size: 32, crops: 1, shards: 3}
    """)
    ran = work.run()
    assert ran.status == "ok", [e.data for e in ran.of("stage.failed")]
    store = Breakable(work)
    before = store.content()
    shards = [e.name for e in work.store.trees.get(store.outputs("pairs")["pairs"]).entries if not e.derived]
    first, last = (store.file("pairs", "pairs", name) for name in (shards[0], shards[-1]))
    swap(first, last)
    bad = store.bad()
    assert bad[f"pairs.pairs/{shards[0]}"] == f"holds the bytes of {shards[-1]}"
    done, ran = store.repair()
    assert (done.left, ran.partitions) == ((), [f"pairs[{int(n[6:11])}]" for n in (shards[0], shards[-1])])
    untouched(before, store.content(), first, last)
    assert store.resynthesise(100)["pairs"].differences == ()
    flip(store.file("images", "images", "index.parquet"))
    assert "index.parquet of images: " in work.why("pairs", "stages.pairs.with.crops=2")
    assert "`sharpline repair SPEC` makes it again" in work.why("pairs", "stages.pairs.with.crops=2")


def _kill_when(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not moment():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
