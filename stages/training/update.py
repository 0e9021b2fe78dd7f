"""One optimiser update: gradients over all micro-batches and ranks, unscaled, clipped, and used if they are finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from stages.training.config import TrainConfig
from stages.training.guard import Guard, Suspect, finite
from stages.training.method import Batch, Phase
from stages.training.ranks import Ranks
from stages.training.scaling import LossScale
from stages.training.schedule import learning_rate
from stages.training.state import TrainState

AUTOCAST: Final = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Updater:
    """Updates the networks of `state`. Every number that decides anything is the same on every rank."""

    state: TrainState
    config: TrainConfig
    ranks: Ranks
    guard: Guard
    device: str
    stopping: bool = False
    """Whether some rank had been asked to stop by the last update: what all ranks know alike."""

    def update(self, phase: Phase, batch: Batch) -> dict[str, float]:
        """One update from this rank's share of a global batch; returns what was observed, means over all of it.

        Raises StageError when too many updates in a row were not finite.
        """
        optimiser = self.state.optimisers[phase.name]
        rate = learning_rate(phase.optimiser, self.state.step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        weights = [p for group in optimiser.param_groups for p in group["params"]]
        scale = self.state.scales.get(phase.name)
        parts = self._parts(batch)
        seen = self._backward(phase, parts, scale)
        losses = self._over_all(parts, seen)
        norm = self._norm(weights, scale, phase.optimiser.clip)
        if finite(losses["loss"], norm):
            optimiser.step()
            self.guard.accept(phase.name)
            if scale is not None:
                scale.went_well()
        elif scale is not None and finite(losses["loss"]) and scale.overflowed():
            self.guard.overflow(phase.name, scale.value)
        else:
            suspects = self._suspects(phase, parts, seen, weights)
            self.guard.refuse(phase.name, losses["loss"], norm, suspects)
        optimiser.zero_grad(set_to_none=True)
        scales = {} if scale is None else {"loss_scale": scale.value}
        return {**losses, **scales, "learning_rate": rate, "gradient_norm": norm}

    def _parts(self, batch: Batch) -> list[Batch]:
        micro = self.config.micro_batch or len(batch)
        return [batch.part(start, min(start + micro, len(batch))) for start in range(0, len(batch), micro)]

    def _backward(self, phase: Phase, parts: Sequence[Batch], scale: LossScale | None) -> list[dict[str, float]]:
        """Add up gradients; the losses of each micro-batch. They leave the device together, so that it never waits."""
        seen: list[dict[str, Tensor]] = []
        for k, part in enumerate(parts):
            with nullcontext() if k == len(parts) - 1 else self.ranks.no_sync():
                seen.append(self._backward_one(phase, part, scale))
        self.ranks.sum_gradients(self._trained(phase))
        if not seen:
            return []
        values = torch.stack([value for losses in seen for value in losses.values()]).tolist()
        names = list(seen[0])
        return [dict(zip(names, values[k * len(names) :], strict=False)) for k in range(len(seen))]

    def _backward_one(self, phase: Phase, part: Batch, scale: LossScale | None) -> dict[str, Tensor]:
        precision = AUTOCAST[self.config.training.precision]
        on_device = part.to(self.device)
        with torch.autocast(self.device.partition(":")[0], dtype=precision, enabled=precision is not None):
            losses = phase.losses(on_device)
        loss: Tensor = losses["loss"] * self._share(part)
        if scale is not None:
            loss = loss.float() * scale.value
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: value.detach().double() for name, value in losses.items()}

    def _share(self, part: Batch) -> float:
        """Of the global batch: gradients of all ranks and micro-batches add up to its mean."""
        return len(part) / self.config.training.batch_size

    def _over_all(self, parts: Sequence[Batch], seen: Sequence[dict[str, float]]) -> dict[str, float]:
        """Losses of the global batch. Whether to stop travels along, so that it costs no exchange of its own."""
        totals = dict.fromkeys(seen[0], 0.0)
        for part, losses in zip(parts, seen, strict=True):
            for name, value in losses.items():
                totals[name] += value * self._share(part)
        sums = self.ranks.sum_values({**totals, "": float(self.guard.ctx.stopping)})  # no loss has this name
        self.stopping = sums.pop("") > 0
        return sums

    def _trained(self, phase: Phase) -> list[nn.Parameter]:
        return [p for group in self.state.optimisers[phase.name].param_groups for p in group["params"]]

    def _norm(self, weights: Sequence[nn.Parameter], scale: LossScale | None, clip: float | None) -> float:
        """The norm of the gradients, which it unscales and clips: it comes after `sum_gradients`."""
        gradients = [p.grad for p in weights if p.grad is not None]
        if scale is not None:
            scale.unscale(gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        found = float(norm)
        if clip is not None and not found <= clip:
            torch.nn.utils.clip_grads_with_norm_(weights, clip, norm)
        return found

    def _suspects(
        self, phase: Phase, parts: Sequence[Batch], seen: Sequence[dict[str, float]], weights: Sequence[nn.Parameter]
    ) -> list[Suspect]:
        """The micro-batches of this rank that are not finite: by their losses, or by their gradients one by one.

        A loss may be finite where its gradient is not. Nothing is consumed by an update, so it can be done again.
        """
        found = []
        for k, (part, losses) in enumerate(zip(parts, seen, strict=True)):
            wrong = [f"{name} {value}" for name, value in losses.items() if not math.isfinite(value)]
            if not wrong:
                for weight in weights:
                    weight.grad = None
                with self.ranks.no_sync():
                    self._backward_one(phase, part, None)
                grads = [p.grad for p in weights if p.grad is not None]
                if grads and not math.isfinite(float(torch.nn.utils.get_total_norm(grads))):
                    wrong = [f"loss {losses['loss']}, its gradient is not finite"]
            if wrong:
                found.append(Suspect(k, len(parts), ", ".join(wrong), part))
        return found
