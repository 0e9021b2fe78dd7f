"""tune: the search visits few sizes and finds the largest; a rehearsal runs the stage and leaves nothing."""

from __future__ import annotations

import pytest
import torch
import typer
from typer.testing import CliRunner

from pipelines.errors import UsageError
from pipelines.lookup import Ready
from stages.commands import tune
from stages.commands.trials import Trial, search
from stages.evaluation.evaluate import Evaluate
from stages.methods.resshift import ResShiftConfig, TrainResShift
from stages.training import loop
from tests.support.textures import texture_pairs

CONFIG = ResShiftConfig(
    steps=100,
    network={"widths": [8], "blocks": 1, "groups": 4},
    process={"timesteps": 4, "min_noise": 0.2},
    training={"batch_size": 6},
    data={"patch": 4},
    keep_best=1,
)


@pytest.mark.parametrize("most", [1, 7, 64])
def test_the_search_finds_the_largest_that_fits(most):
    for limit in range(most + 2):
        tried = []

        def attempt(size, limit=limit, tried=tried):
            tried.append(size)
            return Trial(size, size <= limit)

        trials = list(search(attempt, most))
        assert max((trial.size for trial in trials if trial.fits), default=0) == min(limit, most)
        assert max(tried) <= most
        assert len(set(tried)) == len(tried) <= 2 * most.bit_length()


def tuned(monkeypatch, ready, *words):
    """The command's answer for a stage that is found without a store."""
    monkeypatch.setattr("pipelines.lookup.find_stage", lambda *_: ready)
    app = typer.Typer()
    app.command()(tune.command)
    return CliRunner().invoke(app, ["spec.yaml", ready.name, *words])


def test_sizes_are_timed_until_one_does_not_fit(tmp_path, monkeypatch):
    pairs = texture_pairs(tmp_path / "pairs", train=6)
    before = sorted(tmp_path.rglob("*"))
    step_once = loop.Trainer._step

    def small_memory(self):
        if self.config.training.batch_size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step_once(self)

    monkeypatch.setattr(loop.Trainer, "_step", small_memory)
    done = tuned(monkeypatch, Ready("teacher", TrainResShift, CONFIG, {"pairs": (pairs,)}), "--steps", "2")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()[2:-2]]
    assert [row[0] for row in rows] == ["1", "2", "4", "6", "5"]
    assert [" ".join(row[1:]) for row in rows[3:]] == ["does not fit"] * 2
    for size, rate, milliseconds, *_ in rows[:3]:
        assert float(rate) * float(milliseconds) == pytest.approx(1000 * int(size), rel=0.02)
    assert "largest that fits: 4 (of a batch of 6)" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_only_training_can_be_tuned(monkeypatch):
    with pytest.raises(UsageError, match=r"scores is no training stage"):
        raise tuned(monkeypatch, Ready("scores", Evaluate, Evaluate.Config(), {})).exception
