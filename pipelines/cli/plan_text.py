"""A plan as text: the counts first, then one line a stage with its reasons below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipelines.assessment import Assessment, State
from pipelines.plan import Plan

MARKS: dict[State, str] = {"cached": "✓", "run": "●", "resume": "↻", "pending": "○", "lost": "✗", "blocked": "✗"}
MOST_REASONS = 12  # a changed preset can differ in dozens of values: the rest is counted


def plan_lines(plan: Plan) -> Iterator[str]:
    """The lines of ``sharpline plan``."""
    counts = Counter(stage.state for stage in plan.stages.values())
    order: tuple[State, ...] = ("cached", "resume", "run", "pending", "lost", "blocked")
    yield ", ".join(f"{counts[state]} {state}" for state in order if counts[state]) or "no stages"
    width = max((len(name) for name in plan.stages), default=0)
    for stage in plan.stages.values():
        yield from _stage_lines(stage, width)


def _stage_lines(stage: Assessment, width: int) -> Iterator[str]:
    key = stage.identity.key[3:11] if stage.identity else "·" * 8
    left = ""
    if stage.state == "resume" and stage.total is not None and stage.done is not None:
        left = f"  {stage.total - stage.done:g} of {stage.total:g} {stage.unit} left"
    elif stage.state == "run" and stage.total is not None:
        left = f"  {stage.total:g} {stage.unit}"
    yield f"{MARKS[stage.state]} {stage.name:<{width}}  {stage.state:<7}  {key}  {stage.uses}{left}"
    for reason in stage.reasons[:MOST_REASONS]:
        if str(reason) != left.strip():
            yield f"    {reason}"
    if len(stage.reasons) > MOST_REASONS:
        yield f"    and {len(stage.reasons) - MOST_REASONS} more (see --json)"
