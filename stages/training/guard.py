"""Updates whose loss or gradient is not finite leave no trace in the weights, and only so many are borne."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.stage import Context, StageError
from stages.training.method import Batch
from stages.training.ranks import Ranks
from stages.training.state import TrainState

MAX_SKIPS: Final = 5
"""Refused updates of one optimiser in a row, after which training stops."""
NAMED: Final = 16
"""Sample keys that a message names."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A micro-batch that was found not finite: its place among `of` on this rank, what was seen, its samples."""

    place: int
    of: int
    what: str
    batch: Batch

    def __str__(self) -> str:
        keys = list(self.batch.keys)
        named = [*keys[:NAMED], *([f"… ({len(keys)} in all)"] if len(keys) > NAMED else [])]
        where = f"micro-batch {self.place + 1} of {self.of}: " if self.of > 1 else ""
        return f"{where}{self.what}; samples {', '.join(named)}"


@dataclass
class Guard:
    """Counts refusals in the state, so that a resumed training stops where a straight one would."""

    state: TrainState
    ranks: Ranks
    ctx: Context

    def accept(self, phase: str) -> None:
        self.state.refused_in_a_row.pop(phase, None)

    def refuse(self, phase: str, loss: float, norm: float, suspects: Sequence[Suspect]) -> None:
        """Note a refused update. Raises StageError, on every rank alike, when there were too many in a row."""
        self.state.skipped[phase] = self.state.skipped.get(phase, 0) + 1
        in_a_row = self.state.refused_in_a_row.get(phase, 0) + 1
        self.state.refused_in_a_row[phase] = in_a_row
        found = self.ranks.gather_text("; ".join(map(str, suspects)))
        named = [f"rank {rank}: {text}" if self.ranks.size > 1 else text for rank, text in enumerate(found) if text]
        what = f"step {self.state.step}, {phase}: loss {loss}, gradient norm {norm}; " + (
            "; ".join(named) or "no micro-batch is so by itself: their sum is"
        )
        self.ctx.log.warning("update refused at %s", what)
        if in_a_row >= MAX_SKIPS:
            raise StageError(
                f"{MAX_SKIPS} updates in a row were not finite, the last at {what}. Lower training.learning_rate, "
                "set training.clip, use precision: fp32, or look at these samples; the last checkpoint is intact"
            )

    def overflow(self, phase: str, scale: float) -> None:
        """Note an fp16 update that was left out because its scaled gradients overflowed: expected now and then."""
        self.ctx.log.info("step %d, %s: fp16 gradients overflowed, loss scale now %g", self.state.step, phase, scale)


def finite(*values: float) -> bool:
    return all(map(math.isfinite, values))
