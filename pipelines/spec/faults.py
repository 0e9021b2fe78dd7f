"""What a stage class says, or does wrong, when the framework asks it about a config."""

from __future__ import annotations

from pipelines.stage import StageError


def stage_fault(error: Exception, method: str) -> str:
    """The message for an exception out of a stage's class method.

    Refusals (ValueError, StageError) speak for themselves; anything else is a defect of the stage and is named so.
    """
    if isinstance(error, (ValueError, StageError)):
        return str(error)
    return f"the stage's {method}() failed: {type(error).__name__}: {error}"
