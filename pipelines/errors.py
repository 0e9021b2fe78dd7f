"""Errors that reach the person at the terminal, each with the exit code of its class.

Every message says what was expected, what came, where, and what to do next. Anything that is not a
:class:`SharplineError` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class SharplineError(Exception):
    """Base of all errors that are explained to the user instead of traced."""

    exit_code: ClassVar[int] = 1


class StageFailed(SharplineError):
    """A stage did not finish: the user's code, its data, or the machine under it."""

    exit_code = 1


class UsageError(SharplineError):
    """The command line or the spec is wrong; nothing was started and nothing was lost."""

    exit_code = 2


class LeaseHeld(SharplineError):
    """Another live run builds the same key, and waiting was refused (``--no-wait``)."""

    exit_code = 4


class ClusterLost(SharplineError):
    """The Ray cluster could not be reached or went away; what was committed is kept."""

    exit_code = 5


class StoreError(SharplineError):
    """The store refused, lost or cannot read something; the message names the object."""

    exit_code = 1


class WrongStore(StoreError):
    """No store is where one was named, or the name is none of a store."""

    exit_code = 2


class Damaged(StoreError):
    """Bytes of the store are not what was once written there; ``sharpline repair`` restores what can be made again."""


class NewerSchema(StoreError):
    """A stored file was written by a newer Sharpline than this one."""

    exit_code = 2


@contextmanager
def writing(path: Path, given_as: str) -> Iterator[None]:
    """Makes an OSError of what is written to `path`, a file or a folder, a UsageError; `given_as` names the option."""
    try:
        yield
    except OSError as error:
        at = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise UsageError(
            f"{given_as} {path}: cannot be written: {error.strerror or error}{at}; name a place that you may write to"
        ) from error
