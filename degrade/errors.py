"""Errors of the degradation library."""

from __future__ import annotations


class DegradeError(ValueError):
    """A preset, recipe or image that cannot be used; the message says what was expected, what came and what to do."""
