"""A pool of 20,000 pairs: killed three times at random, resumed with the same command, and checked to the byte.

``SHARPLINE_POOL=400 pytest -m soak tests/journeys/test_pool.py -s`` tries it on fewer.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from degrade.presets import load_preset
from pipelines.artifact import Manifest
from pipelines.store.store import Store, open_store
from stages.data.tables import INDEX
from stages.synthesis.encoding import Encoding
from stages.synthesis.pair import PairMaker
from tests.support.cli import Sharpline
from tests.support.photos import NAMES, bundled

PAIRS = int(os.environ.get("SHARPLINE_POOL", "20000"))
CROPS = 40
PHOTOS = -(-PAIRS // CROPS)
SHARDS = max(8, PAIRS // 250)
SEED, SCALE, HR_SIZE, KILLS = 11, 4, 256, 3
SPEC = f"""
sharpline: 1
name: pool
stages:
  photos:
    uses: ingest.images
    with: {{source: ./photos, min_size: {HR_SIZE}}}
  pairs:
    uses: degrade.pairs
    inputs: {{images: photos}}
    with:
      {{preset: real-esrgan, scale: {SCALE}, hr_size: {HR_SIZE}, crops: {CROPS}, shards: {SHARDS}, seed: {SEED}}}
"""


def write_photos(folder: Path) -> None:
    """PHOTOS different photographs: pieces of the bundled ones, mirrored, with other exposure and white balance."""
    folder.mkdir(parents=True)
    sources = [np.asarray(Image.open(bundled(name)).convert("RGB"), np.float32) / 255 for name in NAMES]
    draw = np.random.default_rng(PAIRS)
    for number in range(PHOTOS):
        photo = sources[number % len(sources)]
        height, width = (int(draw.integers(280, min(side, 420) + 1)) for side in photo.shape[:2])
        y, x = int(draw.integers(photo.shape[0] - height + 1)), int(draw.integers(photo.shape[1] - width + 1))
        piece = photo[y : y + height, x : x + width][:, :: int(draw.choice([-1, 1]))]
        piece = np.clip(piece ** draw.uniform(0.7, 1.4) * draw.uniform(0.85, 1.15, 3), 0, 1)
        image = Image.fromarray(np.rint(piece * 255).astype(np.uint8))
        image.save(folder / f"{number:05d}.jpg", quality=95, subsampling=0)


@dataclass
class Memory:
    """Peak memory (VmHWM) of every process below one, sampled while it lives."""

    root: int
    peaks: dict[tuple[int, str], int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.stop.wait(0.5):
            for pid in descendants(self.root):
                try:
                    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                except OSError:
                    continue
                if "VmHWM" in status:
                    self.peaks[pid, status["Name"].strip()] = int(status["VmHWM"].split()[0])


def descendants(root: int) -> Iterator[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    for pid in parents:
        above = pid
        while above in parents and above != root:
            above = parents[above]
        if above == root and pid != root:
            yield pid


@dataclass
class Outcome:
    """How one start of the command ended."""

    code: int
    seconds: float
    shards: list[str]
    peak_megabytes: float
    tail: str


def run_once(sharpline: Sharpline, kill_after: int | None, delay: float) -> Outcome:
    """Start the command; SIGKILL its process group `delay` seconds after `kill_after` shards of this start."""
    started = time.perf_counter()
    process = sharpline.start("run", "spec.yaml", "--json")
    memory = Memory(process.pid)
    watching = threading.Thread(target=memory.watch, daemon=True)
    watching.start()
    done: list[str] = []
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("type") == "partition.done" and event.get("stage") == "pairs":
            done.append(str(event["partition"]))
        if kill_after is not None and len(done) >= kill_after:
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGKILL)
            break
    _, err = process.communicate()
    memory.stop.set()
    watching.join()
    workers = [peak for (_, name), peak in memory.peaks.items() if name.startswith(("python", "ray::", "sharpline"))]
    tail = "".join(lines[-5:]) + err[-2000:]
    return Outcome(process.returncode, time.perf_counter() - started, done, max(workers, default=0) / 1024, tail)


def check_digests(store: Store, pairs: Manifest, rows: list[dict[str, Any]]) -> None:
    """Every shard has the bytes of its digest, and every sample those of the index."""
    by_shard: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_shard.setdefault(row["shard"], []).append(row)
    shards = [entry for entry in pairs.entries if entry.name.endswith(".tar")]
    assert {entry.name for entry in shards} == set(by_shard)
    for entry in shards:
        data = store.blobs.open(entry.sha256).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry.sha256, entry.name
        for row in by_shard[entry.name]:
            sample = data[row["offset"] : row["offset"] + row["size"]]
            assert hashlib.sha256(sample).hexdigest() == row["sha256"], row["key"]


def check_rendering(store: Store, images: Manifest, pairs: Manifest, rows: list[dict[str, Any]]) -> int:
    """A random hundredth of the pairs comes out the same again; how many that were."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(store.blobs.open(images.entry(INDEX).sha256))
    sources = {row["image"]: row for row in table.to_pylist()}
    maker = PairMaker(load_preset("real-esrgan"), SEED, SCALE, HR_SIZE, Encoding())
    chosen = random.Random(PAIRS).sample(rows, max(1, len(rows) // 100))
    for row in chosen:
        source = sources[row["image"]]
        data = store.blobs.read(images.entry(source["entry"]).sha256, source["offset"], source["size"])
        made = maker.make(maker.read(data, row["image"], row["split"]), row["crop"])
        for part, name in (("hr", "hr.png"), ("json", "json"), ("lr", "lr.png")):
            shard = pairs.entry(row["shard"]).sha256
            assert store.blobs.read(shard, row[f"{part}_offset"], row[f"{part}_size"]) == made.files[name], row["key"]
    return len(chosen)


@pytest.mark.soak
@pytest.mark.timeout(14400)
def test_a_pool_of_pairs_survives_kills_to_the_byte(tmp_path: Path) -> None:
    import pyarrow.parquet

    write_photos(tmp_path / "photos")
    (tmp_path / "spec.yaml").write_text(SPEC)
    sharpline, draw = Sharpline(cwd=tmp_path), random.Random()
    moments = [(max(1, int(SHARDS * draw.uniform(0.02, 0.3))), draw.uniform(0, 3)) for _ in range(KILLS)]
    print(f"\n{PAIRS} pairs of {PHOTOS} photographs in {SHARDS} shards; kills after (shards, seconds): {moments}")
    starts = [run_once(sharpline, shards, delay) for shards, delay in moments]
    killed = [start.code for start in starts].count(-signal.SIGKILL)
    assert killed + [start.code for start in starts].count(0) == KILLS, [start.tail for start in starts]
    assert killed == KILLS or PAIRS < 5000, "a small pool may be ready before its last kill, this one not"
    starts.append(run_once(sharpline, None, 0))
    assert starts[-1].code == 0, starts[-1].tail

    store = open_store(tmp_path / ".sharpline")
    plan = sharpline.plan("spec.yaml")
    assert {stage["state"] for stage in plan.values()} == {"cached"}, plan
    images, pairs = (store.trees.get(plan[s]["outputs"][o]) for s, o in (("photos", "images"), ("pairs", "pairs")))
    shards = [entry for entry in pairs.entries if entry.name.endswith(".tar")]
    finished = Counter(shard for start in starts for shard in start.shards)
    assert set(finished.values()) == {1}, "a finished shard was built again"
    assert len(shards) - 8 * killed <= len(finished) <= len(shards)  # what ended with a kill may have said nothing
    rows = pyarrow.parquet.read_table(store.blobs.open(pairs.entry(INDEX).sha256)).to_pylist()
    assert len(rows) == len({row["key"] for row in rows}) == PHOTOS * CROPS
    check_digests(store, pairs, rows)
    again = check_rendering(store, images, pairs, rows)

    seconds = sum(start.seconds for start in starts)
    size = sum(entry.size for entry in shards)
    for start in starts:
        print(f"  {start.seconds:7.1f} s  {len(start.shards):4d} shards  worker peak {start.peak_megabytes:.0f} MB")
    print(
        f"{len(rows)} pairs ({size / 1e9:.2f} GB) in {seconds:.0f} s over {len(starts)} starts, {killed} killed: "
        f"{len(rows) / seconds:.1f} pairs/s; largest worker {max(s.peak_megabytes for s in starts):.0f} MB; "
        f"no shard built twice, every digest right, {again} pairs made again are equal"
    )
