"""Whole runs on an S3 store: the bytes of a local run, also when the server misbehaves."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.support.s3 import BUCKET, FaultProxy
from tests.support.workspace import Workspace

SPEC = """
    source: {uses: "toy:Texts", with: {source: ./texts}}
    upper: {uses: "toy:Upper", inputs: {texts: source}}
    model: {uses: "toy:Trainer", inputs: {texts: upper}, with: {steps: 8, save_every: 4}}
"""


def workspace(folder: Path, store: str | None = None) -> Workspace:
    folder.mkdir()
    made = Workspace(folder, store)
    made.texts(a="one", b="two", c="three")
    made.spec(SPEC)
    return made


@pytest.mark.parametrize("fault", [{}, {"refused": 0.05, "lost": 0.02, "cut": 0.02, "delay": 0.1, "seed": 5}])
def test_a_run_on_s3_gives_the_digests_of_a_local_one(
    s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, float]
) -> None:
    monkeypatch.setenv("SHARPLINE_CACHE", str(tmp_path / "cache"))
    remote = workspace(tmp_path / "remote", f"s3://{BUCKET}/{uuid.uuid4().hex}")
    with s3.misbehaving(**fault):
        ran = remote.run()
    assert ran.status == "ok", ran.of("stage.failed")
    assert remote.run().built == []
    local = workspace(tmp_path / "local")
    local.run()
    one, other = ({n: s.outputs for n, s in w.plan().stages.items()} for w in (remote, local))
    assert one == other
