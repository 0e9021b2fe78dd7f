"""Pictures: their size without decoding, their order in a comparison, and a budget for what a page embeds."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipelines.report.model import Comparison, Picture, Strip

BUDGET: Final = 17_000_000
"""Bytes of all pictures before base64, which makes 23 MB of them: a page stays under 25 MB."""

MAX_STEPS: Final = 6

_FIRST: Final = ("lr", "input", "bicubic")
_LAST: Final = ("hr", "reference", "target")
_STEP: Final = re.compile(r"[-_/@ ]?(?:step[-_=]?)?(\d+)$")


@dataclass(frozen=True, slots=True)
class RawPicture:
    """A recorded picture: `name` as the stage gave it, the step it belongs to, a caption."""

    name: str
    data: bytes
    step: int | None = None
    caption: str = ""


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, JPEG or WebP from its header; (0, 0) for anything else."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + length
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def picture(label: str, data: bytes, caption: str = "") -> Picture:
    """A picture of `data` with its true size and media type; a caption need not begin with the label."""
    width, height = size_of(data)
    if caption.lower() == label.lower():
        caption = ""
    if caption.lower().startswith((f"{label.lower()}:", f"{label.lower()} ")):
        caption = caption[len(label) + 1 :].strip()
    mime = "image/jpeg" if data[:2] == b"\xff\xd8" else "image/webp" if data[:4] == b"RIFF" else "image/png"
    return Picture(label, data, width, height, caption, mime)


def arrange(raw: Iterable[RawPicture]) -> tuple[tuple[Comparison, ...], tuple[Strip, ...]]:
    """Group what a stage recorded.

    Names ``<image>/<what>`` with at least two kinds of `what` become one comparison an image; everything
    else becomes strips by name, in step order.
    """
    images: dict[tuple[str, int | None], dict[str, RawPicture]] = {}
    strips: dict[str, list[RawPicture]] = {}
    for item in raw:
        image, slash, what = item.name.rpartition("/")
        if slash and not what.isdigit():
            images.setdefault((image, item.step), {})[what] = item
        else:
            strips.setdefault(_strip_name(item), []).append(item)
    comparisons = []
    for (image, step), kinds in images.items():
        if len(kinds) > 1:
            shown = tuple(picture(k, kinds[k].data, kinds[k].caption) for k in sorted(kinds, key=_rank))
            comparisons.append(Comparison(image, shown, step))
        else:
            strips.setdefault(image, []).extend(kinds.values())
    return tuple(comparisons), tuple(_strip(name, items) for name, items in strips.items())


def by_step(previews: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """One comparison an image: what stays the same once, and between it what a training made of it, step by step.

    Of more than `MAX_STEPS` steps as many are shown, evenly spread, the first and the last among them.
    """
    images: dict[str, list[Comparison]] = {}
    for preview in sorted(previews, key=lambda found: found.step or 0):
        images.setdefault(preview.name, []).append(preview)
    shown = []
    for name, found in images.items():
        last = len(found) - 1
        kept = found if last < MAX_STEPS else [found[round(i * last / (MAX_STEPS - 1))] for i in range(MAX_STEPS)]
        fixed = found[-1].pictures
        made = [
            replace(p, label=f"step {c.step:,}" if p.label == "sr" else f"{p.label}, step {c.step:,}", caption="")
            for c in kept for p in c.pictures if p.label not in (*_FIRST, *_LAST)
        ]  # fmt: skip
        before, after = ([p for p in fixed if p.label in side] for side in (_FIRST, _LAST))
        shown.append(Comparison(name, (*before, *made, *after)))
    return tuple(shown)


def _rank(what: str) -> int:
    """Lowest quality first: lr, bicubic, models in the order in which they came, hr."""
    name = what.lower()
    if name in _FIRST:
        return _FIRST.index(name)
    return 100 + _LAST.index(name) if name in _LAST else 50


def _strip_name(item: RawPicture) -> str:
    return _STEP.sub("", item.name) or item.name


def _strip(name: str, items: Sequence[RawPicture]) -> Strip:
    numbered = [(item.step if item.step is not None else _trailing(item.name), item) for item in items]
    numbered.sort(key=lambda pair: (pair[0] is None, pair[0] or 0))
    return Strip(
        name,
        tuple(
            picture(item.name if step is None else f"step {step:,}", item.data, item.caption) for step, item in numbered
        ),
    )


def _trailing(name: str) -> int | None:
    found = _STEP.search(name)
    return int(found.group(1)) if found else None


def within_budget(pictures: Mapping[int, Picture], budget: int = BUDGET) -> dict[int, Picture]:
    """The pictures as they will be embedded: untouched while all fit, smaller and lossy ones otherwise.

    Pictures that still do not fit lose their data and are shown as a note.
    """
    total = sum(len(p.data) for p in pictures.values())
    if total <= budget:
        return dict(pictures)
    share = budget // len(pictures)
    spent, result = 0, {}
    for key, item in pictures.items():
        small = _shrink(item, share)
        if spent + len(small.data) > budget:
            small = replace(item, data=b"")
        spent += len(small.data)
        result[key] = small
    return result


def _shrink(item: Picture, share: int) -> Picture:
    """A JPEG of `item` in at most `share` bytes where that can be done, by steps of quality and size."""
    if len(item.data) <= share:
        return item
    try:
        from PIL import Image

        with Image.open(io.BytesIO(item.data)) as opened:
            image = opened.convert("RGB")
    except (ImportError, OSError, ValueError):
        return item
    data = item.data
    for side, quality in ((1024, 90), (768, 85), (512, 80), (384, 75), (256, 70), (160, 60)):
        copy = image.copy()
        copy.thumbnail((side, side))
        buffer = io.BytesIO()
        copy.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        if len(data) <= share:
            break
    return replace(item, data=data, mime="image/jpeg", caption=item.caption or "reduced to fit this page")


def data_url(item: Picture) -> str:
    """`item` as a ``data:`` URL, empty when its data was dropped."""
    if not item.data:
        return ""
    return f"data:{item.mime};base64,{base64.b64encode(item.data).decode('ascii')}"
