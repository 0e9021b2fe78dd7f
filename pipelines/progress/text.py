"""Numbers, durations and glyphs as people read them; every glyph has an ASCII stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The marks of stage states and the pieces of a progress bar."""

    running: str
    done: str
    failed: str
    reused: str
    queued: str
    waiting: str
    bar: str
    rest: str
    ellipsis: str
    dot: str


UNICODE: Final = Glyphs("●", "✓", "✗", "↷", "○", "◌", "━", "─", "…", "·")
ASCII: Final = Glyphs("*", "+", "x", "=", ".", "~", "#", "-", "..", "-")


def glyphs_for(encoding: str | None) -> Glyphs:
    """The Unicode glyphs where `encoding` can express them all (None: anything goes), ASCII ones elsewhere."""
    try:
        "●✓✗↷○◌━─…·".encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 m 07 s``, ``2 h 05 m``, ``3 d 04 h``; nothing for None."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def number(value: float) -> str:
    """A count with thousands separators, or up to three significant decimals."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3g}"


def rate(per_second: float | None, unit: str) -> str:
    """``12.3 steps/s``, or per minute or hour for slow work; nothing for None."""
    if not per_second:
        return ""
    for scale, name in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        if per_second * scale >= 1 or name == "h":
            value = per_second * scale
            shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
            return f"{shown} {unit}/{name}" if unit else f"{shown}/{name}"
    return ""


def clip(text: str, width: int, ellipsis: str) -> str:
    """`text` in at most `width` columns, shortened in the middle: both ends of a cell's name tell something."""
    if len(text) <= width:
        return text
    if width <= len(ellipsis):
        return text[: max(0, width)]
    keep = width - len(ellipsis)
    tail = keep // 3
    return text[: keep - tail] + ellipsis + (text[-tail:] if tail else "")


def clean(text: str) -> str:
    """`text` with line breaks and control characters as spaces: a message cannot drive the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def one_line(text: str) -> str:
    """:func:`clean` text with all runs of spaces as one."""
    return " ".join(clean(text).split())
