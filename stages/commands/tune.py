"""``sharpline tune``: which micro-batch a training stage can take on this machine, and what each one gives.

It prints and decides nothing: a run takes what the spec says, so that two runs of one spec do the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from stages.commands.trials import Trial


def command(
    spec: Annotated[Path, typer.Argument(help="The spec.", show_default=False)],
    stage: Annotated[str, typer.Argument(help="A training stage of it, whose inputs are built.", show_default=False)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
    ] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps that are timed for each size, after two others.")] = 5,
) -> None:
    """Train a few steps with ever larger micro-batches and print how fast each is, until one does not fit.

    Between the last that fits and the first that does not, the largest is found by bisection. Nothing is stored.
    """
    from pipelines.lookup import find_stage
    from stages.commands.trials import search, try_size
    from stages.training.config import TrainConfig

    found = find_stage(spec, stage, set_ or [], store)
    config = found.config
    if not isinstance(config, TrainConfig):
        raise UsageError(f"{found.name} is no training stage; `sharpline tune` is for those (uses: train.…)")
    name = "micro_batch" if config.device == "cuda" else "batch_size"
    typer.echo(f"{found.name} on {config.device}, batch of {config.training.batch_size}, {config.training.precision}")
    typer.echo(f"{name:>11}   samples/s   ms a step   peak memory")
    trials: list[Trial] = []
    for trial in search(lambda size: try_size(found, size, steps), config.training.batch_size):
        trials.append(trial)
        typer.echo(_line(trial), err=False)
    typer.echo(_conclusion(trials, config))


def _line(trial: Trial) -> str:
    if not trial.fits:
        return f"{trial.size:>11}   does not fit"
    memory = f"{trial.memory / 1e9:8.2f} GB" if trial.memory else "          –"
    return f"{trial.size:>11}{trial.samples_per_second:12.1f}{1e3 * trial.seconds_a_step:12.1f}   {memory}"


def _conclusion(trials: list[Trial], config: object) -> str:
    from stages.training.config import TrainConfig

    assert isinstance(config, TrainConfig)
    fitting = [trial for trial in trials if trial.fits]
    if not fitting:
        return "not one sample fits: lower data.patch or the network's widths, or set recompute: true"
    largest = max(fitting, key=lambda trial: trial.size)
    fastest = max(fitting, key=lambda trial: trial.samples_per_second)
    said = f"largest that fits: {largest.size} (of a batch of {config.training.batch_size}); fastest: {fastest.size}"
    if config.device == "cpu":
        return f"{said}\non the CPU a batch goes through at once: micro_batch is for device: cuda"
    return f"{said}\nto use it, write `micro_batch: {fastest.size}` under `with:` of the stage"
