"""``sharpline tensorboard``: what trainings have recorded, as event files that TensorBoard draws.

The store stays the only record. Event files are made from it, and from it made again: a folder for each stage and
training, to which every further export adds what is new. A training that went on from a checkpoint has one curve,
each step once; where steps were made again, its folder is written anew.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stages.commands.event_folder import Added


def command(
    target: Annotated[str, typer.Argument(metavar="SPEC|RUN", help="A spec (its latest run), or a run's id.")],
    logdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write (default: tensorboard/<spec> in the store).")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The store (default: the spec's, or ./.sharpline).")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the run does.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks, with --follow.")] = 10.0,
) -> None:
    """Write losses, validation, learning rate, throughput, settings and sample pictures as TensorBoard event files.

    Run it again, or with --follow, and only new steps are added.
    """
    from pipelines.report.recorded import Recording, open_run
    from stages.commands.event_folder import EventFolder, folder_name

    recording = Recording(*open_run(target, store))
    folders: dict[str, EventFolder] = {}
    while True:
        stages = recording.read()
        if logdir is None:
            root = recording.store.local_root
            logdir = (root or Path()) / "tensorboard" / recording.name
        for stage in filter(lambda stage: stage.is_training, stages):
            name = folder_name(stage)
            folder = folders.setdefault(name, EventFolder(logdir / name))
            said = _line(name, folder.add(stage))
            if said:
                typer.echo(said)
        if not (follow and recording.running):
            break
        time.sleep(every)
    for folder in folders.values():
        folder.close()
    if not folders:
        typer.echo(f"run {recording.run} has no training with a recorded step yet; --follow waits for it")
        return
    typer.echo(shlex.join(["tensorboard", "--logdir", str(logdir)]))


def _line(name: str, added: Added) -> str:
    if not added.values and not added.pictures:
        return ""
    how = "written anew: " if added.anew else ""
    pictures = f", {added.pictures:,} pictures" if added.pictures else ""
    return f"{name}: {how}{added.values:,} values{pictures}, up to step {added.step:,}"
