"""Contact sheets: pictures in a grid with captions, drawn with Pillow and its own font."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

PAPER, INK, SOFT, LINE = (255, 255, 255), (27, 29, 33), (99, 102, 109), (228, 227, 223)
MARGIN, GAP, INNER = 32, 28, 4
MIN_SIDE, MAX_SIDE = 192, 320  # pixels of a picture on the sheet
TITLE, NAME, NOTE = 26, 15, 13  # font sizes
MOST_LINES = 4
_SPELLED = str.maketrans(
    {"×": "x", "→": "to", "σ": "sigma", "θ": "theta", "ω": "omega", "β": "beta", "–": "-", "—": "-"}
)  # what Pillow's own font has no glyphs for


@dataclass(frozen=True)
class Cell:
    """One item: LR and HR as Pillow images, a name and short phrases about it."""

    name: str
    lr: Image
    hr: Image
    notes: tuple[str, ...] = ()


def contact_sheet(cells: Sequence[Cell], title: str, subtitle: str) -> bytes:
    """A PNG of all cells: LR (its pixels enlarged) beside HR, captions below. Raises ValueError without cells."""
    from PIL import Image as Images
    from PIL import ImageDraw

    if not cells:
        raise ValueError("a contact sheet needs at least one cell")
    side = _side(max(max(cell.hr.size) for cell in cells))
    wide = 2 * side + INNER
    columns = min(len(cells), 3 if len(cells) <= 18 else 4)
    lines = [_wrapped(cell.notes, wide) for cell in cells]
    rows = [range(at, min(at + columns, len(cells))) for at in range(0, len(cells), columns)]
    talls = [max(_fitted(cells[i].hr, side)[1] for i in row) for row in rows]
    texts = [8 + NAME + 6 + (NOTE + 5) * max(len(lines[i]) for i in row) for row in rows]
    top = MARGIN + TITLE + 10 + NOTE + 24
    width = 2 * MARGIN + columns * wide + (columns - 1) * GAP
    sheet = Images.new("RGB", (width, top + sum(talls) + sum(texts) + GAP * (len(rows) - 1) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    _heading(draw, width, title, subtitle)
    y = top
    for row, tall, text in zip(rows, talls, texts, strict=True):
        for column, i in enumerate(row):
            _cell(sheet, draw, cells[i], lines[i], (MARGIN + column * (wide + GAP), y), (side, tall))
        y += tall + text + GAP
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=False, compress_level=3)
    return out.getvalue()


def enlarged(image: Image, side: int) -> Image:
    """The image in a square of `side` pixels: whole pixels enlarged, larger ones averaged."""
    from PIL import Image as Images

    larger = side >= max(image.size)
    return image.resize(_fitted(image, side), Images.Resampling.NEAREST if larger else Images.Resampling.BOX)


def _fitted(image: Image, side: int) -> tuple[int, int]:
    scale = side / max(image.size)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _side(longest: int) -> int:
    """How large HR is shown: at its own size where that fits, else a whole multiple of it, else made smaller."""
    if longest >= MAX_SIDE:
        return MAX_SIDE
    return longest if longest >= MIN_SIDE else longest * -(-MIN_SIDE // longest)


def _heading(draw: ImageDraw, width: int, title: str, subtitle: str) -> None:
    draw.text((MARGIN, MARGIN), _cut(title, _font(TITLE), width - 2 * MARGIN), fill=INK, font=_font(TITLE))
    at = (MARGIN, MARGIN + TITLE + 10)
    draw.text(at, _cut(subtitle, _font(NOTE), width - 2 * MARGIN), fill=SOFT, font=_font(NOTE))


def _cell(
    sheet: Image, draw: ImageDraw, cell: Cell, lines: Sequence[str], at: tuple[int, int], room: tuple[int, int]
) -> None:
    """Pictures in `room` (width of each, height of the row), as low as they can be; name and notes below."""
    (x, y), (side, tall) = at, room
    for picture, left in ((cell.lr, x), (cell.hr, x + side + INNER)):
        shown = enlarged(picture.convert("RGB"), side)
        sheet.paste(shown, (left + (side - shown.width) // 2, y + tall - shown.height))
    y += tall + 8
    sizes = f"{cell.lr.width}×{cell.lr.height} → {cell.hr.width}×{cell.hr.height}"
    rest = 2 * side + INNER - _font(NOTE).getlength(sizes) - 12
    draw.text((x, y), _cut(cell.name, _font(NAME), rest), fill=INK, font=_font(NAME))
    draw.text((x + 2 * side + INNER, y + 2), _cut(sizes, _font(NOTE), side), fill=SOFT, font=_font(NOTE), anchor="ra")
    y += NAME + 6
    for line in lines:
        draw.text((x, y), line, fill=SOFT, font=_font(NOTE))
        y += NOTE + 5


def _wrapped(notes: Sequence[str], width: int) -> list[str]:
    """The notes, parted by dots, in at most MOST_LINES lines of `width` pixels."""
    font = _font(NOTE)
    lines: list[str] = []
    for note in notes:
        joined = f"{lines[-1]}  ·  {note}".translate(_SPELLED) if lines else note
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(_cut(note, font, width))
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1] = _cut(f"{lines[MOST_LINES - 1]}  ·  …", font, width)
    return lines[:MOST_LINES]


def _cut(text: str, font: FreeTypeFont, width: float) -> str:
    text = "".join(char if char < "\u0250" or char == "…" else "?" for char in text.translate(_SPELLED))
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    found = _FONTS.get(size)
    if found is None:
        loaded = ImageFont.load_default(size)
        assert isinstance(loaded, ImageFont.FreeTypeFont), "Pillow's wheels bring FreeType and an outline font"
        found = _FONTS[size] = loaded
    return found


_FONTS: dict[int, FreeTypeFont] = {}
