"""Our commands by name: the module behind each and the line that ``sharpline --help`` shows. Imports nothing."""

from __future__ import annotations

COMMANDS = {
    "degrade": ("stages.commands.degrade", "Look at presets, preview them, rebuild a pair from its record."),
    "tensorboard": ("stages.commands.tensorboard", "Write what trainings recorded as TensorBoard event files."),
    "tune": ("stages.commands.tune", "Time a training stage with ever larger micro-batches, until one does not fit."),
}
