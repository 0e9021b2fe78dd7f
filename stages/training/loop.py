"""The one training loop: every method, on one rank or many, exactly resumable.

Update u, counted from the first step, sees the global samples ``u * batch_size ...``; noise and order are functions
of those indices, so a state is its step, and a resumed run cannot differ from a straight one.
A run that ends (Ctrl-C, SIGTERM) costs no step: the one in hand is finished and saved. What a kill costs (a worker,
a node) is bounded by `checkpoint_every` and `checkpoint_minutes`.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import torch

from pipelines.stage import Context, Interrupted, StageError
from stages.models.numerics import tf32
from stages.training.config import TrainConfig
from stages.training.flops import training_flops
from stages.training.guard import Guard
from stages.training.loader import PairLoader
from stages.training.meter import Meter
from stages.training.method import Method, updates_before
from stages.training.pictures import HeldOutPictures
from stages.training.prepare import prepare
from stages.training.ranks import SOLO, Ranks
from stages.training.state import TrainState
from stages.training.update import Updater
from stages.training.validation import Validation


class Trainer:
    """Runs `method` up to `config.steps`, from the newest checkpoint if there is one.

    With several `ranks`, each runs this with its own loader (of the same ranks). Rank 0's context records and saves.
    """

    def __init__(
        self,
        method: Method,
        loader: PairLoader,
        config: TrainConfig,
        ctx: Context,
        pictures: HeldOutPictures | None = None,
        ranks: Ranks = SOLO,
    ) -> None:
        if config.training.batch_size < ranks.size:
            raise StageError(
                f"training.batch_size: expected at least one sample for each of {ranks.size} ranks, "
                f"got {config.training.batch_size}"
            )
        self.method, self.loader, self.config, self.ctx, self.ranks = method, loader, config, ctx, ranks
        self.device = ctx.devices[0] if config.device == "cuda" else "cpu"
        self.pictures, self.validation = pictures, self._validation(pictures)
        for network in method.networks.values():
            network.to(self.device)
        self.meter = Meter(self.device, self._flops(), self._peak())
        for network in method.networks.values():
            prepare(network, config)
        self.state = TrainState.create(method, config.training.precision)
        guard = Guard(self.state, ranks, ctx)
        self.updater = Updater(self.state, config, ranks, guard, self.device)

    def run(self) -> TrainState:
        """Train to the last step and leave a checkpoint of it, so that raising `steps` later goes on from here.

        Raises Interrupted, on all ranks after the same step, which is saved, when one of them was asked to stop.
        """
        with tf32(self.config.tf32):
            self._say_when_it_only_warms_up()
            self._resume()
            self.saved_at = time.monotonic()
            while self.state.step < self.config.steps:
                with self.meter.step():
                    self._step()
                self.ctx.progress(self.state.step, self.config.steps, "steps")
                self._between_steps()
        return self.state

    def _resume(self) -> None:
        found = self.ctx.checkpoints.latest(at_most=self.config.steps)
        if found is not None:
            self.state.load(found[1])
            self.ctx.log.info("continuing after step %d", self.state.step)
        at = self.ranks.gather_text(str(self.state.step))
        if len(set(at)) > 1:
            raise StageError(
                f"ranks found checkpoints of different steps ({', '.join(at)}): they do not see the same store; "
                "use one that all nodes read alike (s3://bucket/prefix, or a shared file system)"
            )

    def _step(self) -> None:
        update = updates_before(self.method.phases, self.state.step)
        several = len(self.method.phases) > 1
        for phase in self.method.phases:
            if self.state.step < phase.start:
                continue
            prefix = f"{phase.name}/" if several else ""
            for _ in range(phase.repeats):
                with self.meter.spent("data_wait"):
                    batch = self.loader.batch(update * self.loader.batch_size)
                seen = self.updater.update(phase, replace(batch, step=self.state.step))
                self.meter.add({prefix + name: value for name, value in seen.items()}, self.loader.batch_size)
                update += 1
        for average in self.state.averages.values():
            average.update()
        self.state.step += 1

    def _between_steps(self) -> None:
        """Lines of metrics, validation and pictures, as they fall due; last a checkpoint, which they come before:
        what was observed is stored with it, and not again after a resume."""
        step, config = self.state.step, self.config
        last = step == config.steps
        if step % config.log_every == 0 or last:
            self.ctx.metrics(step, **self.meter.values())
        best = self._validate() if config.validate_every and step % config.validate_every == 0 else False
        if self.pictures and self.ranks.rank == 0 and config.picture_every and step % config.picture_every == 0:
            self.pictures.record(self.method, self.state, self.device)
        late = time.monotonic() - self.saved_at >= 60 * config.checkpoint_minutes
        stopping = self.updater.stopping and not last
        if best or last or late or stopping or step % config.checkpoint_every == 0:
            self._save()
        if stopping:
            self.ranks.barrier()  # rank 0 is saving: whoever leaves first ends the gang
            raise Interrupted(f"saved after step {step} of {config.steps}")

    def _validate(self) -> bool:
        """Whether this step's checkpoint is one of the best."""
        if self.validation is None:
            return False
        values = self.validation.measure(self.method, self.state, self.device)
        self.ctx.metrics(self.state.step, **values)
        psnr = values["validation/psnr"]
        best = self.state.keep_best(psnr, self.config.keep_best)
        if best and psnr == max(self.state.best.values()):
            step = self.state.step
            self.ctx.log.info("best so far: %.2f dB at step %d (`steps: %d` exports it)", psnr, step, step)
        return best

    def _save(self) -> None:
        """Rank 0 saves; the others wait for it at the next exchange."""
        if self.ranks.rank == 0:
            with self.meter.spent("checkpoint_stall"):
                folder = self.ctx.scratch / f"state-{self.state.step}"
                folder.mkdir()
                self.state.save(folder)
                self.ctx.checkpoints.save(
                    self.state.step, folder, keep_last=self.config.keep_last, keep=tuple(self.state.best)
                )
                shutil.rmtree(folder, ignore_errors=True)
        self.saved_at = time.monotonic()

    # -- what is known before the first step

    def _say_when_it_only_warms_up(self) -> None:
        for phase in self.method.phases:
            optimiser, steps = phase.optimiser, self.config.steps
            if optimiser.warmup >= steps:
                self.ctx.log.warning(
                    "%s: %d steps of training are all warm-up (%d), so the learning rate never reaches %g; lower "
                    "warmup, or raise steps",
                    phase.name, steps, optimiser.warmup, optimiser.learning_rate,
                )  # fmt: skip

    def _validation(self, pictures: HeldOutPictures | None) -> Validation | None:
        if pictures is None or pictures.index is None or not self.config.validate_every:
            return None
        height, width = self.loader.pairs.hr_sizes()[0] // self.loader.scale
        patch = self.config.data.patch
        side = (int(height), int(width)) if patch is None else (patch, patch)
        return Validation(pictures.index, self.loader.scale, side, self.config, self.ranks)

    def _flops(self) -> float:
        if self.config.peak_tflops is None:
            return 0.0
        with torch.enable_grad():
            late = max(phase.start for phase in self.method.phases)  # when all phases are at work
            sample = replace(self.loader.batch(0).part(0, 1).to(self.device), step=late)
            return training_flops(self.method.phases, self.method.networks, sample)

    def _peak(self) -> float | None:
        peak = self.config.peak_tflops
        return None if peak is None else peak * self.ranks.size
