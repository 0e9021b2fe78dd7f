"""A whole run as driver and workers leave it in a store: the quickstart with real photographs, built by hand."""

from __future__ import annotations

import io
import json
import os
import random
import socket
from pathlib import Path

import pyarrow
import pyarrow.parquet

from pipelines.artifact import Entry, Manifest
from pipelines.canonical import Json, JsonObject, digest
from pipelines.events import Event
from pipelines.store.holder import Holder
from pipelines.store.store import Store, open_store
from tests.support.example_pictures import PHOTOS, loss_rows, renderings

RUN = "20261122-041530-quickstart-3f9a"
START = 1795320930.0
VERSIONS: JsonObject = {"python": "3.11.9", "sharpline": "0.1.0", "ray": "2.60.0", "torch": "2.13.0", "numpy": "2.4.1"}
METRICS: JsonObject = {
    "protocol": {"name": "classic-y", "channel": "Y, BT.601 limited", "crop_border": 4, "rounding": "uint8"},
    "models": {
        "teacher": {"psnr_y": 25.92, "ssim_y": 0.7713, "lpips": 0.312},
        "bicubic": {"psnr_y": 24.31, "ssim_y": 0.7042, "lpips": 0.455},
    },
}


def key(name: str) -> str:
    return "k1:" + digest(name)


class Example:
    """Builds the parts; every method commits one stage the way the driver would."""

    def __init__(self, root: Path, run: str = RUN) -> None:
        self.store: Store = open_store(root / "store")
        self.run = run
        self.record = self.store.run(run)
        self.now = START

    def emit(self, kind: str, stage: str | None = None, after: float = 0.0, **data: Json) -> None:
        self.now += after
        self.record.append_event(Event(kind, stage, data, self.now).to_json())

    def artifact(self, kind: str, files: dict[str, bytes], facets: JsonObject, derived: tuple[str, ...] = ()) -> str:
        entries = []
        for name, data in files.items():
            sha256, size = self.store.blobs.add_bytes(data)
            entries.append(Entry(name, sha256, size, name in derived))
        return self.store.trees.put(Manifest(kind, facets, tuple(entries)))  # type: ignore[arg-type]

    def commit(self, stage: str, slot: str, found: str) -> int:
        claim = self.store.key_log(key(stage)).try_claim(Holder.current(self.run))
        assert claim is not None
        assert claim.commit({slot: found}, {"stage": stage}, {})
        return claim.attempt

    def point(self, stage: str, **data: Json) -> None:
        self.record.put_json(f"stages/{stage}.json", {"stage": stage, **data})


def spec_json(
    stages: dict[str, JsonObject] | None = None, file: str = "/home/ana/superres/quickstart.yaml"
) -> JsonObject:
    default: dict[str, JsonObject] = {
        "photos": {"uses": "ingest.images", "with": {"source": "skimage:photos"}, "inputs": {}},
        "pairs": {
            "uses": "degrade.pairs",
            "with": {"preset": "real-esrgan", "scale": 4, "hr_size": 256, "shards": 8},
            "inputs": {"images": ["photos"]},
        },
        "teacher": {
            "uses": "train.resshift",
            "with": {"steps": 200, "training": {"learning_rate": 0.0005, "batch": 8}},
            "inputs": {"pairs": ["pairs"]},
            "notes": "Tiny: learns in a minute on two cores.",
        },
        "evaluate": {"uses": "evaluate", "with": {}, "inputs": {"models": ["teacher.model"], "pairs": ["pairs"]}},
    }
    return {"name": "quickstart", "file": file, "store": ".sharpline", "params": {}, "stages": stages or default}  # type: ignore[dict-item]


REASONS: dict[str, list[Json]] = {
    "photos": [],
    "pairs": ["photos: 1 of 24 images added"],
    "teacher": ["with.training.learning_rate: 5e-5 -> 1e-4 (quickstart.yaml:41)", "pairs: 1 of 8 shards changed"],
    "evaluate": ["teacher will run; cached if the same bytes come out"],
}


def begin(example: Example, states: dict[str, str]) -> None:
    spec = spec_json()
    example.record.put_json("spec.json", spec)
    example.emit(
        "run.started", run=example.run, spec="quickstart", file=spec["file"], executor="ray", host=socket.gethostname(),
        pid=os.getpid(), argv=["run", "quickstart.yaml"], versions=VERSIONS, store="/home/ana/superres/.sharpline",
        command="sharpline run quickstart.yaml",
    )  # fmt: skip
    for name, stage in spec["stages"].items():  # type: ignore[union-attr]
        example.emit(
            "stage.planned", name, uses=stage["uses"], state=states[name], reasons=REASONS[name], key=key(name)  # type: ignore[index,call-overload]
        )  # fmt: skip


def quickstart(root: Path) -> Store:
    """A finished run: photos reused, one shard and everything after it built, with all observations."""
    example = Example(root)
    begin(example, {"photos": "cached", "pairs": "resume", "teacher": "pending", "evaluate": "pending"})
    photos = example.artifact("images", {"pack-00.tar": b"p" * 4096}, {"channels": 3, "count": 24})
    example.commit("photos", "images", photos)
    example.emit("stage.reused", "photos", 0.2, key=key("photos"), outputs={"images": photos})
    _pairs(example)
    _teacher(example)
    _evaluate(example)
    example.emit("run.finished", None, 0.4, status="ok", seconds=134.2, built=3, reused=1, failed=0, skipped=0)
    example.record.close()
    return example.store


def _pairs(example: Example) -> None:
    example.emit(
        "stage.started", "pairs", 0.3, key=key("pairs"), attempt=0, how="resume", partitions={"total": 8, "done": 7}
    )
    example.emit("partition.done", "pairs", 41, partition="3", seconds=40.8, done=8, total=8)
    found = samples(example)
    attempt = example.commit("pairs", "pairs", found)
    data: JsonObject = {"key": key("pairs"), "attempt": attempt, "how": "built", "outputs": {"pairs": found}}
    example.emit("stage.committed", "pairs", 0.2, **data, seconds=41.2)
    example.point("pairs", state="done", **data, seconds=41.2)


def samples(example: Example) -> str:
    """A `samples` artifact: one shard of real pairs, and an index with recipe columns."""
    rng = random.Random(3)
    shard, rows = bytearray(), []
    for i in range(120):
        name = list(PHOTOS)[i % len(PHOTOS)]
        made = renderings(name, 128)
        row: dict[str, object] = {"key": f"{digest(name)[:16]}_{i:04d}", "shard": "shard-00000.tar", "split": "train"}
        for member in ("hr", "lr"):
            if i < len(PHOTOS):
                row |= {f"{member}_offset": len(shard), f"{member}_size": len(made[member])}
                shard += made[member]
            else:
                row |= {f"{member}_offset": rows[i % len(PHOTOS)][f"{member}_offset"]}
                row |= {f"{member}_size": rows[i % len(PHOTOS)][f"{member}_size"]}
        row |= {"r_blur1_sigma": rng.uniform(0.2, 3), "r_noise1_sigma": rng.expovariate(0.1), "r_kind": "iso"}
        row |= {"r_jpeg1_quality": rng.randint(30, 95), "r_resize1_scale": rng.triangular(0.15, 1.5, 1)}
        rows.append(row)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer, compression="zstd")
    files = {"shard-00000.tar": bytes(shard), "index.parquet": buffer.getvalue()}
    return example.artifact("samples", files, {"role": "pairs", "scale": 4, "hr_size": 128}, ("index.parquet",))


def _teacher(example: Example) -> None:
    found = example.artifact(
        "model", {"weights.safetensors": b"w" * 90_000}, {"role": "sr", "family": "resshift", "scale": 4}
    )
    example.emit("stage.started", "teacher", 0.2, key=key("teacher"), attempt=0, how="run", partitions=None)
    attempt = example.store.attempt(key("teacher"), 0)
    attempt.append("metrics", loss_rows(200))  # type: ignore[arg-type]
    for step in (50, 100, 150, 200):
        name = f"sample/{step:06d}"
        attempt.put_picture(name, renderings("coffee", 128)["bicubic" if step < 100 else "teacher"])
        attempt.append("images", [{"name": name, "step": step, "caption": "", "time": START}])
    attempt.append("log", [{"time": START + s, "level": "INFO", "message": f"step {s} done"} for s in (50, 100, 200)])
    example.emit("stage.progress", "teacher", 70, partition=None, done=200, total=200, unit="steps")
    example.commit("teacher", "model", found)
    data: JsonObject = {"key": key("teacher"), "attempt": 0, "how": "built", "outputs": {"model": found}}
    example.emit("stage.committed", "teacher", 2.4, **data, seconds=72.9)
    example.point("teacher", state="done", **data)


def _evaluate(example: Example) -> None:
    found = example.artifact("metrics", {"metrics.json": json.dumps(METRICS).encode()}, {"role": "evaluation"})
    example.emit("stage.started", "evaluate", 0.1, key=key("evaluate"), attempt=0, how="run", partitions=None)
    attempt = example.store.attempt(key("evaluate"), 0)
    for name in PHOTOS:
        captions = {"bicubic": "24.31 dB", "teacher": "25.92 dB"}
        for what, png in renderings(name).items():
            attempt.put_picture(f"{name}/{what}", png)
            attempt.append("images", [{"name": f"{name}/{what}", "step": None, "caption": captions.get(what, "")}])
    example.commit("evaluate", "metrics", found)
    data: JsonObject = {"key": key("evaluate"), "attempt": 0, "how": "built", "outputs": {"metrics": found}}
    example.emit("stage.committed", "evaluate", 9.3, **data, seconds=9.3)
    example.point("evaluate", state="done", **data)


def failing(root: Path, hostile: str = "<script>alert(1)</script>") -> Store:
    """A run whose teacher failed with text that must not become markup."""
    example = Example(root)
    begin(example, {"photos": "cached", "pairs": "cached", "teacher": "run", "evaluate": "pending"})
    example.emit("stage.reused", "photos", 0.1, key=key("photos"), outputs={"images": "0" * 64})
    example.emit("stage.reused", "pairs", 0.1, key=key("pairs"), outputs={})
    example.emit("stage.started", "teacher", 0.1, key=key("teacher"), attempt=0, how="run", partitions=None)
    error: JsonObject = {
        "kind": "user", "type": "ValueError", "message": f"expected 3 channels, got 4: {hostile}\nsecond line",
        "frame": f"stages/methods/resshift.py:88 in {hostile}\n    latent = self.encode(batch)",
        "traceback": f"Traceback (most recent call last):\n  {hostile}",
    }  # fmt: skip
    example.emit("stage.failed", "teacher", 12, partition=None, error=error, log=f"attempts/{hostile}/log")
    example.emit("stage.skipped", "evaluate", 0, because=f"teacher failed {hostile}")
    example.emit("run.finished", None, 0.1, status="failed", seconds=12.6, built=0, reused=2, failed=1, skipped=1)
    example.record.close()
    return example.store
