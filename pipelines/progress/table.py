"""The live table of a terminal: one row a stage, in the spec's order, folded when there are too many."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from pipelines.progress.board import Board, Phase, StageLine
from pipelines.progress.text import Glyphs, clip, duration, number, rate

STATE = 8
PERCENT = 4
_STYLES: dict[Phase, str] = {
    "queued": "bright_black",
    "waiting": "yellow",
    "running": "cyan",
    "done": "green",
    "reused": "blue",
    "failed": "bold red",
    "skipped": "bright_black",
}
_URGENCY: dict[Phase, int] = {
    "failed": 0, "running": 1, "waiting": 2, "queued": 3, "done": 4, "skipped": 5, "reused": 6,
}  # fmt: skip


class LiveTable:
    """A rich renderable that looks at `board` anew on every refresh; `clock` gives Unix seconds."""

    def __init__(self, board: Board, glyphs: Glyphs, clock: object) -> None:
        self.board, self.glyphs, self.clock = board, glyphs, clock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self.clock() if callable(self.clock) else 0.0
        width = max(20, options.max_width)
        room = max(4, (options.height or console.size.height) - 3)
        shown, folded = choose(list(self.board.stages.values()), room)
        yield stage_table(shown, width, now, self.glyphs)
        yield self._footer(folded, now, width)

    def _footer(self, folded: list[StageLine], now: float, width: int) -> Text:
        pieces = [f"{self.mark(phase)} {n} {phase}" for phase, n in _counted(folded) if n]
        elapsed = duration(now - self.board.started) if self.board.started else ""
        text = Text("  ".join([*pieces, elapsed]), style="bright_black", overflow="ellipsis", no_wrap=True)
        text.truncate(width)
        return text

    def mark(self, phase: Phase) -> str:
        return glyph(phase, self.glyphs)


def glyph(phase: Phase, glyphs: Glyphs) -> str:
    marks: dict[Phase, str] = {
        "queued": glyphs.queued,
        "waiting": glyphs.waiting,
        "running": glyphs.running,
        "done": glyphs.done,
        "reused": glyphs.reused,
        "failed": glyphs.failed,
        "skipped": glyphs.queued,
    }
    return marks[phase]


def choose(stages: list[StageLine], room: int) -> tuple[list[StageLine], list[StageLine]]:
    """Which stages get a row when there is room for `room`, in their own order, and which are only counted.

    What needs eyes comes first: failed, running, waiting, then the next in line, then the lately finished.
    """
    if len(stages) <= room:
        return stages, []
    ranked = sorted(range(len(stages)), key=lambda i: (_URGENCY[stages[i].phase], _freshness(stages[i], i)))
    keep = set(ranked[:room])
    return [s for i, s in enumerate(stages) if i in keep], [s for i, s in enumerate(stages) if i not in keep]


def _freshness(stage: StageLine, index: int) -> int:
    return -index if stage.phase in ("done", "reused") else index


def _counted(stages: list[StageLine]) -> list[tuple[Phase, int]]:
    order: list[Phase] = ["done", "reused", "running", "waiting", "queued", "skipped", "failed"]
    return [(phase, sum(stage.phase == phase for stage in stages)) for phase in order]


@dataclass(frozen=True, slots=True)
class Widths:
    """Columns of the table in characters; 0 leaves a column out. Together with the gaps they fit the terminal."""

    name: int
    bar: int
    rate: int
    time: int

    @classmethod
    def fit(cls, width: int, longest: int) -> Widths:
        """Glyph, name, state, percentage and time always; a bar from 60 columns, the rate from 90."""
        rate_room = 16 if width >= 90 else 0
        time_room = 14 if width >= 60 else 8
        taken = 1 + 1 + STATE + 1 + PERCENT + 1 + time_room + (rate_room + 1 if rate_room else 0) + 1
        least_bar = 11 if width >= 60 else 0
        name = max(4, min(longest, width - taken - least_bar))
        bar = min(28, width - taken - name - 1) if least_bar else 0
        return cls(name, max(0, bar), rate_room, time_room)


def stage_table(stages: list[StageLine], width: int, now: float, glyphs: Glyphs) -> Table:
    """One row a stage in at most `width` columns."""
    room = Widths.fit(width, max((len(stage.name) for stage in stages), default=8))
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(width=1, no_wrap=True)
    table.add_column(width=room.name, no_wrap=True)
    table.add_column(width=STATE, no_wrap=True)
    if room.bar:
        table.add_column(width=room.bar, no_wrap=True)
    table.add_column(width=PERCENT, justify="right", no_wrap=True)
    if room.rate:
        table.add_column(width=room.rate, justify="right", no_wrap=True)
    table.add_column(width=room.time, justify="right", no_wrap=True)
    for stage in stages:
        table.add_row(*_cells(stage, room, now, glyphs))
    return table


def _cells(stage: StageLine, room: Widths, now: float, glyphs: Glyphs) -> list[Text]:
    style = Style.parse(_STYLES[stage.phase])
    fraction = stage.fraction if stage.phase == "running" else None
    cells = [
        Text(glyph(stage.phase, glyphs), style=style),
        Text(clip(stage.name, room.name, glyphs.ellipsis)),
        Text(state_word(stage), style=style),
    ]
    if room.bar:
        cells.append(_bar(stage, room.bar, glyphs))
    cells.append(Text("" if fraction is None else f"{fraction:.0%}"))
    if room.rate:
        cells.append(Text(_speed(stage, now), style="bright_black"))
    text = _time(stage, now)
    cells.append(Text(text if len(text) <= room.time else text.removesuffix(" left")))
    return cells


def state_word(stage: StageLine) -> str:
    if stage.phase == "done":
        return stage.how or "built"
    if stage.phase == "queued" and stage.plan in ("lost", "blocked"):
        return stage.plan
    return "resuming" if stage.phase == "running" and stage.how == "resume" else stage.phase


def _bar(stage: StageLine, width: int, glyphs: Glyphs) -> Text:
    fraction = stage.fraction
    if stage.phase != "running":
        return Text("")
    filled = 0 if fraction is None else round(fraction * width)
    text = Text(glyphs.bar * filled, style="cyan")
    return text.append(glyphs.rest * (width - filled), style="bright_black")


def _speed(stage: StageLine, now: float) -> str:
    if stage.phase == "running":
        return rate(stage.rate.per_second(now), stage.unit)
    return f"{number(stage.total)} {stage.unit}" if stage.phase == "done" and stage.total else ""


def _time(stage: StageLine, now: float) -> str:
    """Time left while that is known, time taken otherwise."""
    if stage.phase == "running" and stage.total:
        left = stage.rate.eta(now, stage.total)
        if left is not None:
            return f"{duration(left)} left"
    return duration(stage.elapsed(now))
