"""Kill the whole process group at any moment: the same command goes on and ends with the same bytes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.store.store import Store, open_store
from tests.support.cli import ROOT, Finished, Sharpline

SPEC = ROOT / "specs" / "quickstart.yaml"
START = 7.0  # seconds until Ray is up: kills before that are cheap to survive, so most should come later


@dataclass(frozen=True)
class Reference:
    """A run that nobody disturbed."""

    digests: dict[str, dict[str, str]]
    seconds: float


def digests(sharpline: Sharpline, store: Path) -> dict[str, dict[str, str]]:
    plan = sharpline.plan(SPEC, "--store", store)
    assert {stage["state"] for stage in plan.values()} == {"cached"}
    return {name: stage["outputs"] for name, stage in plan.items()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    done = Sharpline()("run", SPEC, "--store", store)
    assert done.code == 0, done.out + done.err
    return Reference(digests(Sharpline(), store), done.seconds)


def kill_until_done(store: Path, kills: int, reference: Reference, seed: int) -> tuple[int, Finished]:
    """Kill up to `kills` runs on one store, then let the command finish."""
    sharpline, draw, killed = Sharpline(), random.Random(seed), 0
    for _ in range(kills):
        moment = draw.uniform(0.2, START + 0.3 * reference.seconds)
        if not sharpline.killed_after(moment, "run", SPEC, "--store", store):
            break
        killed += 1
    done = sharpline("run", SPEC, "--store", store)
    assert done.code == 0, done.out + done.err
    return killed, done


def check_nothing_done_twice(store: Store) -> None:
    """A finished partition is never built again, and training repeats at most what lay after a checkpoint."""
    built: Counter[tuple[str, str]] = Counter()
    for run in store.runs():
        for event in store.run(run).read_events():
            if event["type"] == "partition.done":
                built[(str(event["stage"]), str(event["partition"]))] += 1
    assert built
    assert set(built.values()) == {1}


def survive(tmp_path: Path, kills: int, reference: Reference, seed: int) -> None:
    killed = rounds = 0
    while killed < kills:
        store = tmp_path / f"store{rounds}"
        more, _ = kill_until_done(store, kills - killed, reference, seed + rounds)
        assert digests(Sharpline(), store) == reference.digests
        check_nothing_done_twice(open_store(store))
        killed, rounds = killed + more, rounds + 1


@pytest.mark.ci
@pytest.mark.timeout(1500)
def test_five_kills_of_one_run_change_no_byte(tmp_path: Path, reference: Reference) -> None:
    survive(tmp_path, 5, reference, seed=2026)


@pytest.mark.soak
@pytest.mark.timeout(14400)
def test_thirty_kills_change_no_byte(tmp_path: Path, reference: Reference) -> None:
    survive(tmp_path, 30, reference, seed=7)
