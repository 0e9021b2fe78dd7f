"""Why something did not work, told by the line of the user's code where it happened."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pipelines.canonical import JsonObject
from pipelines.errors import Damaged, SharplineError, StoreError
from pipelines.stage import Interrupted, PeerLost, StageError

ErrorKind: TypeAlias = Literal["user", "store", "lost", "internal"]


class Terminated(BaseException):
    """SIGTERM reached a unit that does not look at `ctx.stopping`: its worker goes, and it can run elsewhere."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a unit did not finish.

    `kind`: ``user`` (the stage's code or data; never retried), ``store`` or ``lost`` (infrastructure;
    retried), ``internal`` (a defect of ours). `frame` is the innermost line outside the framework.
    `spent`: it was retried as often as it may be, below the scheduler (by Ray Train).
    """

    kind: ErrorKind
    type: str
    message: str
    frame: str = ""
    traceback: str = ""
    spent: bool = False

    @property
    def retryable(self) -> bool:
        return self.kind in ("store", "lost") and not self.spent

    @property
    def interrupted(self) -> bool:
        """Whether the unit stopped because it was asked to, and has saved what it had."""
        return self.kind == "lost" and self.type == Interrupted.__name__

    @property
    def place(self) -> str:
        """``file:line in function`` of the frame, without its source line."""
        return self.frame.partition("\n")[0]

    def to_json(self) -> JsonObject:
        data = asdict(self)
        del data["spent"]  # what is left to try is the scheduler's affair
        return cast(JsonObject, data)

    @classmethod
    def from_exception(cls, error: BaseException, package: Path | None = None) -> Failure:
        """Describe `error` by the innermost frame that is not the framework's own."""
        package = package or Path(__file__).resolve().parent
        text = "".join(traceback.format_exception(error))
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [f for f in frames if package not in Path(f.filename).parents]
        kind: ErrorKind = "user" if theirs or isinstance(error, StageError) else "internal"
        if isinstance(error, StoreError) and not isinstance(error, Damaged):
            kind = "store"
        elif isinstance(error, SharplineError):  # damaged bytes do not get better by reading them once more
            kind = "user"
        elif isinstance(error, (PeerLost, Interrupted, Terminated)):
            kind = "lost"
        chosen = _own_frame(theirs or list(frames))
        frame = ""
        if chosen is not None:
            frame = f"{chosen.filename}:{chosen.lineno} in {chosen.name}"
            if chosen.line:
                frame += f"\n    {chosen.line}"
        return cls(kind, type(error).__name__, str(error), frame, text)


def _own_frame(frames: Sequence[traceback.FrameSummary]) -> traceback.FrameSummary | None:
    """The innermost frame in the user's or our stages' code: below it lie libraries."""
    outside = [f for f in frames if "site-packages" not in f.filename and "/lib/python3" not in f.filename]
    return next(reversed(outside or list(frames)), None)
