"""Where a crop is taken and how it is turned: the draws that HR and LR share."""

from __future__ import annotations

from dataclasses import dataclass

from degrade.augment import D4, element
from degrade.errors import DegradeError
from degrade.operators.base import Place, Size
from degrade.philox import Stream
from degrade.preset import CROP, SYMMETRY, Crop, Preset


@dataclass(frozen=True)
class Framing:
    """The context box in the photograph, its size after rescaling and symmetry, and the HR crop inside the result."""

    box: tuple[int, int, int, int]
    rescaled: Size | None
    symmetry: D4
    context: Size
    inner: Size


def draw_crop(preset: Preset, place: Place, hr_size: int | None, scale: int) -> Framing:
    """Draw the framing for a photograph of `place.size`; see :class:`degrade.preset.Crop`. None: the whole of it."""
    height, width = place.size
    if hr_size is None:
        return _whole(preset, place, scale)
    if hr_size < 1 or scale < 1 or hr_size % scale:
        raise DegradeError(f"hr_size is a positive multiple of the scale {scale}, got {hr_size}")
    if min(height, width) < hr_size:
        raise DegradeError(
            f"image {place.image[:12]} is {width} x {height} and an HR crop takes {hr_size} x {hr_size}; "
            "leave small images out at ingestion (min_size) or lower hr_size"
        )
    stream = place.stream(CROP)
    if preset.crop.mode == "rescaled":
        side = min(height, width)
        y, x = stream.integer(0, height - side), stream.integer(0, width - side)
        return Framing((y, x, side, side), (hr_size, hr_size), _symmetry(preset, place), (hr_size, hr_size), (0, 0))
    shown = _zoomed(preset, place, hr_size)
    top, bottom, y = _axis(stream, preset.crop, shown[0], hr_size, scale)
    left, right, x = _axis(stream, preset.crop, shown[1], hr_size, scale)
    context: Size = (hr_size + (top + bottom) * scale, hr_size + (left + right) * scale)
    box, rescaled = _native((y - top * scale, x - left * scale), context, shown, place.size)
    symmetry = _symmetry(preset, place)
    if symmetry in ("t", "r90", "r270", "hvt"):
        top, bottom, left, right = left, right, top, bottom
        context = context[1], context[0]
    if symmetry in ("v", "r180", "r90", "hvt"):
        top = bottom
    if symmetry in ("h", "r180", "r270", "hvt"):
        left = right
    return Framing(box, rescaled, symmetry, context, (top * scale, left * scale))


def _whole(preset: Preset, place: Place, scale: int) -> Framing:
    """The photograph from its top left corner, cut at the right and at the bottom to multiples of `scale`."""
    height, width = (side // scale * scale for side in place.size)
    if preset.crop.mode == "rescaled":
        raise DegradeError(
            f"preset {preset.name!r} resizes every photograph to the HR size (crop.mode: rescaled), so whole ones "
            "have none; give hr_size, or use a preset with crop.mode: native"
        )
    if preset.augment.zoom is not None:
        raise DegradeError(
            f"preset {preset.name!r} zooms (augment.zoom), and a whole photograph has one size; give hr_size, or "
            "leave out augment.zoom"
        )
    if not height or not width:
        raise DegradeError(
            f"image {place.image[:12]} is {place.size[1]} x {place.size[0]}, smaller than the scale {scale}; "
            "leave small images out at ingestion (min_size)"
        )
    turned = _symmetry(preset, place)
    context = (width, height) if turned in ("t", "r90", "r270", "hvt") else (height, width)
    return Framing((0, 0, height, width), None, turned, context, (0, 0))


def _zoomed(preset: Preset, place: Place, hr_size: int) -> Size:
    """The size at which the photograph is shown, at least `hr_size` a side; see :class:`degrade.preset.Augment`."""
    if preset.augment.zoom is None:
        return place.size
    low, high = preset.augment.zoom
    fits = hr_size / min(place.size)
    zoom = place.stream(f"{CROP}/zoom").uniform(max(low, fits), max(high, fits))
    height, width = (max(hr_size, int(side * zoom)) for side in place.size)
    return height, width


def _native(start: Size, context: Size, shown: Size, size: Size) -> tuple[tuple[int, int, int, int], Size | None]:
    """The box of the photograph that `context` at `start` shows, and what it is resized to.

    A box that falls between pixels grows to whole ones, so nothing is enlarged beyond the zoom.
    """
    (y, height), (x, width) = (
        (first * own // seen, -(-(first + length) * own // seen) - first * own // seen)
        for first, length, seen, own in zip(start, context, shown, size, strict=True)
    )
    return (y, x, height, width), (None if (height, width) == context else context)


def _axis(stream: Stream, crop: Crop, side: int, hr_size: int, scale: int) -> tuple[int, int, int]:
    """LR pixels of context before and after the crop, and where the crop starts: uniform over the photograph."""
    start = stream.integer(0, side - hr_size)
    phase = stream.integer(0, crop.phases - 1)
    before = min(crop.margin + phase, start // scale)
    after = min(crop.margin + crop.phases - 1 - phase, (side - hr_size - start) // scale)
    return before, after, start


def _symmetry(preset: Preset, place: Place) -> D4:
    stream = place.stream(SYMMETRY)
    hflip = stream.bernoulli(preset.augment.hflip)
    vflip = stream.bernoulli(preset.augment.vflip)
    return element(stream.bernoulli(preset.augment.transpose), hflip, vflip)
