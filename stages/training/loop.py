"""The one training loop: every method, exactly resumable.

Update u of a step sees the global samples ``(step * updates + u) * batch_size ...``; noise and order are
functions of those indices, so a state is its step, and a resumed run cannot differ from a straight one.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipelines.stage import Context, StageError
from stages.training.config import TrainConfig
from stages.training.loader import PairLoader
from stages.training.method import Batch, Losses, Method, Phase
from stages.training.pictures import HeldOutPictures
from stages.training.schedule import learning_rate
from stages.training.state import TrainState

MAX_SKIPS = 5
"""Updates in a row with a loss or gradient that is not finite, after which training stops."""


@dataclass
class _Window:
    """What has happened since the last line of metrics."""

    began: float = field(default_factory=time.monotonic)
    samples: int = 0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.sums[name] += value
            self.counts[name] += 1

    def values(self) -> dict[str, float]:
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        return {**means, "samples_per_second": self.samples / max(time.monotonic() - self.began, 1e-9)}


class Trainer:
    """Runs `method` up to `config.steps`, from the newest checkpoint if there is one."""

    def __init__(
        self,
        method: Method,
        loader: PairLoader,
        config: TrainConfig,
        ctx: Context,
        pictures: HeldOutPictures | None = None,
    ) -> None:
        self.method, self.loader, self.config, self.ctx = method, loader, config, ctx
        self.device = ctx.devices[0] if config.device == "cuda" else "cpu"
        self.pictures = pictures
        for network in method.networks.values():
            network.to(self.device)
        self.state = TrainState.create(method)
        self.updates = sum(phase.repeats for phase in method.phases)
        self.refused_in_a_row = 0
        self.window = _Window()

    def run(self) -> TrainState:
        """Train to the last step and leave a checkpoint of it, so that raising `steps` later goes on from here."""
        steps, saved_at = self.config.steps, time.monotonic()
        found = self.ctx.checkpoints.latest(at_most=steps)
        if found is not None:
            self.state.load(found[1])
            self.ctx.log.info("continuing after step %d", self.state.step)
        while self.state.step < steps:
            self._step()
            step = self.state.step
            self.ctx.progress(step, steps, "steps")
            if step % self.config.log_every == 0 or step == steps:
                self.ctx.metrics(step, **self.window.values())
                self.window = _Window()
            late = time.monotonic() - saved_at >= 60 * self.config.checkpoint_minutes
            if step % self.config.checkpoint_every == 0 or step == steps or late:
                self._save()
                saved_at = time.monotonic()
            if self.pictures and self.config.picture_every and step % self.config.picture_every == 0:
                self.pictures.record(self.method, self.state, self.device)
        return self.state

    def _step(self) -> None:
        update = self.state.step * self.updates
        for phase in self.method.phases:
            for _ in range(phase.repeats):
                self._update(phase, self.loader.batch(update * self.loader.batch_size))
                update += 1
        for average in self.state.averages.values():
            average.update()
        self.state.step += 1

    def _update(self, phase: Phase, batch: Batch) -> None:
        """One optimiser update: gradients over all micro-batches, clipped, refused when they are not finite."""
        optimiser = self.state.optimisers[phase.name]
        rate = learning_rate(phase.optimiser, self.state.step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = self._backward(phase, batch)
        weights = [p for group in optimiser.param_groups for p in group["params"]]
        limit = math.inf if phase.optimiser.clip is None else phase.optimiser.clip
        norm = float(torch.nn.utils.clip_grad_norm_(weights, limit))
        if math.isfinite(losses["loss"]) and math.isfinite(norm):
            optimiser.step()
            self.refused_in_a_row = 0
        else:
            self._refuse(phase, batch, losses["loss"], norm)
        optimiser.zero_grad(set_to_none=True)
        prefix = f"{phase.name}/" if len(self.method.phases) > 1 else ""
        observed = {**losses, "learning_rate": rate, "gradient_norm": norm}
        self.window.add({prefix + name: value for name, value in observed.items() if math.isfinite(value)})
        self.window.samples += len(batch)

    def _backward(self, phase: Phase, batch: Batch) -> dict[str, float]:
        micro = self.config.micro_batch or len(batch)
        bf16 = self.config.training.precision == "bf16"
        device_type = self.device.partition(":")[0]
        totals: dict[str, float] = defaultdict(float)
        for start in range(0, len(batch), micro):
            part = batch.part(start, min(start + micro, len(batch))).to(self.device)
            share = len(part) / len(batch)
            with torch.autocast(device_type, dtype=torch.bfloat16, enabled=bf16):
                losses: Losses = phase.losses(part)
            loss: Tensor = losses["loss"] * share
            loss.backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                totals[name] += float(value.detach()) * share
        return dict(totals)

    def _refuse(self, phase: Phase, batch: Batch, loss: float, norm: float) -> None:
        """Leave the weights as they are; stop when it keeps happening, naming the samples."""
        self.state.skipped[phase.name] = self.state.skipped.get(phase.name, 0) + 1
        self.refused_in_a_row += 1
        where = f"step {self.state.step}, {phase.name}"
        what = f"{where}: loss {loss}, gradient norm {norm}; samples {', '.join(batch.keys)}"
        self.ctx.log.warning("update refused at %s", what)
        if self.refused_in_a_row >= MAX_SKIPS:
            raise StageError(
                f"{MAX_SKIPS} updates in a row were not finite, the last at {what}. Lower training.learning_rate, "
                "set training.clip, use precision: fp32, or look at these samples; the last checkpoint is intact"
            )

    def _save(self) -> None:
        folder = self.ctx.scratch / f"state-{self.state.step}"
        folder.mkdir()
        self.state.save(folder)
        self.ctx.checkpoints.save(self.state.step, folder, keep_last=2)
        shutil.rmtree(folder, ignore_errors=True)
