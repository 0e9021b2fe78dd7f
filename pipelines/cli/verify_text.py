"""What ``verify`` and ``repair`` say, as lines of text, and how far they are, on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from pipelines.repair import Repaired
    from pipelines.verify.findings import Finding, Redone, StageReport, Verification
    from pipelines.verify.reading import Watch

QUIET = 10.0  # seconds between lines of progress where nobody can see one line change


def as_format(text: str) -> str:
    """``text`` or ``json``. Raises UsageError for anything else."""
    if text not in ("text", "json"):
        raise UsageError(f"--format: expected text or json, got {text!r}")
    return text


@contextlib.contextmanager
def progress() -> Iterator[Watch]:
    """A watch that says how much was read: one line that changes on a terminal, else one now and then."""
    live, told, open_line = sys.stderr.isatty(), time.monotonic(), False

    def watch(done: int, total: int, seconds: float) -> None:
        nonlocal told, open_line
        rate = done / max(seconds, 1e-9)
        text = f"read {size(done)} of {size(total)}, {size(int(rate))}/s, {(total - done) / max(rate, 1):.0f} s left"
        if live:
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
            open_line = True
        elif time.monotonic() - told >= QUIET:
            told = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    try:
        yield watch
    finally:
        if open_line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def verification_lines(found: Verification, spec: str) -> Iterator[str]:
    """One line a stage, its bad entries below it, and what to do."""
    width = max((len(stage.stage) for stage in found.stages), default=0)
    for stage in found.stages:
        yield from _stage_lines(stage, width)
    rate = f", {size(int(found.bytes / found.seconds))}/s" if found.seconds >= 1 else ""
    yield f"read {size(found.bytes)} in {found.seconds:.1f} s{rate}"
    if found.bad:
        count = "1 entry is" if len(found.bad) == 1 else f"{len(found.bad)} entries are"
        yield f"{count} bad; `sharpline repair {spec}` restores what can be"
        for stage in found.stages:
            if stage.verified and stage.bad and not stage.reproducible:
                yield _cannot(stage, spec)
    yield from _verdict(found)


def _verdict(found: Verification) -> Iterator[str]:
    """What the exit code means, where nothing bad was found, and what was not looked at."""
    unseen = ", ".join(stage.stage for stage in found.stages if not stage.complete)
    verified = any(stage.verified for stage in found.stages)
    if not found.bad:
        what = "all that was verified is intact" if not unseen else "what could be verified is intact"
        yield what if verified else "nothing was verified"
    if unseen:
        yield f"not, or not wholly, looked at: {unseen}"


def _stage_lines(stage: StageReport, width: int) -> Iterator[str]:
    if not stage.verified:
        yield f"{'✗' if stage.bad else '·'} {stage.stage:<{width}}  {stage.said}"
        yield from (f"    {finding}" for finding in stage.bad)
        return
    mark, verdict = ("✗", f"{len(stage.bad)} bad of ") if stage.bad else ("✓", "")
    yield f"{mark} {stage.stage:<{width}}  {verdict}{stage.entries} entries, {size(stage.bytes)}"
    for finding in stage.bad:
        part = f" ({stage.stage}[{finding.partition}])" if finding.partition is not None else ""
        yield f"    {finding}{part}"
    if stage.said:
        yield f"    {stage.said}"


def redone_lines(stages: Sequence[Redone]) -> Iterator[str]:
    """What making partitions again has shown."""
    for stage in stages:
        if stage.said and not stage.partitions:
            yield f"· {stage.stage}: {stage.said}"
            continue
        mark, verdict = ("✗", "comes out different") if stage.differences else ("✓", "gives the same bytes")
        yield f"{mark} {stage.stage}: {len(stage.partitions)} of {stage.of} partitions made again: {verdict}"
        for difference in stage.differences:
            yield f"    {difference}"
        if stage.said:
            yield f"    {stage.said}"


def repair_lines(done: Repaired, spec: str, dropped: Sequence[Finding] = ()) -> Iterator[str]:
    """What was restored, what is left, and where the wrong bytes are. `dropped` are rows that went unrestored."""
    if not done.first.bad:
        yield from verification_lines(done.first, spec)
        return
    for finding in done.restored:
        how = "dropped, its partition is built again when it is needed" if finding in dropped else "restored"
        yield f"✓ {finding.place}: {how} (was {finding.what})"
    for finding in done.left:
        yield f"✗ {finding.text or f'{finding.place}: {finding.what}'}"
    for stage in done.irreplaceable:
        if stage.verified:
            yield _cannot(stage, spec)
    yield from (f"{stage} {because}" for stage, because in done.left_out.items())
    if done.aside:
        yield "the wrong bytes are kept in the store for a look, and may be deleted:"
        yield from (f"    {entry}: {key}" for entry, key in done.aside.items())
    yield from _verdict(done.last)


def _cannot(stage: StageReport, spec: str) -> str:
    return (
        f"{stage.stage} is not reproducible, so it is not built again unasked: "
        f"`sharpline run {spec} --rebuild {stage.stage}` builds another"
    )


def size(count: int) -> str:
    """Bytes for people: ``1.2 GB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
