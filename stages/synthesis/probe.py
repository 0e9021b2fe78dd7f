"""Which pairs an on-line artifact is known by: few that meet all that its preset can do.

An artifact of rules changes with the code where one of its probed pairs does. So the probe has to meet every
operator, kernel family, mode and option, the rare ones too: recipes are drawn in numbers, which costs no pixel, and
out of them pairs are taken greedily until each thing that occurs in any of them occurs in one that is rendered
(Chvatal, Mathematics of Operations Research 4(3), 1979: the greedy set cover).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stages.synthesis.shards import sample_key

if TYPE_CHECKING:
    from degrade.preset import Preset
    from degrade.recipe import Recipe
    from stages.synthesis.config import PairsConfig

DRAWN: Final = 600
"""Recipes that pairs are chosen from: what one pair in a hundred meets is among them all but once in 400 times."""

MOST: Final = 40
"""Pairs that are chosen at most, beside the first ones."""

SIDE: Final = 256
"""Side of the crops that stand for whole photographs, which may be of any size."""


@dataclass(frozen=True)
class Probe:
    """A pair to be looked at: the photograph of number `photo`, what it is known as, its recipe."""

    photo: int
    key: str
    recipe: Recipe


def choose(
    config: PairsConfig, preset: Preset, photos: Sequence[tuple[str, tuple[int, int]]]
) -> tuple[list[Probe], str]:
    """The pairs to look at, by photograph, and a digest of all recipes that were drawn to choose them.

    `photos` are digests and (height, width) of the photographs to take them from; the first pair of each is among
    them. The digest tells of a change in how recipes are drawn even where it meets no pair that is looked at. Raises
    DegradeError where the preset gives no pair.
    """
    firsts = [_probe(config, preset, photos, photo, 0, config.cut.hr_size) for photo in range(len(photos))]
    drawn = [_candidate(config, preset, photos, number) for number in range(DRAWN)]
    digest = hashlib.sha256("\n".join(probe.recipe.to_json() for probe in drawn).encode()).hexdigest()
    traits = [set(_traits(probe.recipe)) for probe in drawn]
    split = _midpoints(drawn)
    for probe, found in zip(drawn, traits, strict=True):
        found.update(_halves(probe.recipe, split))
    met = {trait for probe in firsts for trait in (*_traits(probe.recipe), *_halves(probe.recipe, split))}
    chosen = [drawn[number] for number in _cover(traits, met)]
    known = {probe.key: probe for probe in (*firsts, *chosen)}
    return sorted(known.values(), key=lambda probe: probe.photo), digest


def _candidate(
    config: PairsConfig, preset: Preset, photos: Sequence[tuple[str, tuple[int, int]]], number: int
) -> Probe:
    """A pair that an epoch would make; of whole photographs a crop, so that its cost has a bound."""
    crop, photo = divmod(number, len(photos))
    side = config.cut.hr_size
    if side is None:
        side = min(SIDE, *photos[photo][1]) // config.scale * config.scale
    return _probe(config, preset, photos, photo, crop, side)


def _probe(
    config: PairsConfig,
    preset: Preset,
    photos: Sequence[tuple[str, tuple[int, int]]],
    photo: int,
    crop: int,
    hr_size: int | None,
) -> Probe:
    from degrade.recipe import sample_recipe

    image, size = photos[photo]
    key = sample_key(image, crop)
    if hr_size != config.cut.hr_size:
        key = f"{key}.{hr_size}"  # no pair of this artifact
    recipe = sample_recipe(
        preset, seed=config.seed, image=image, crop=crop, image_size=size, hr_size=hr_size, scale=config.scale
    )
    return Probe(photo, key, recipe)


def _traits(recipe: Recipe) -> Iterator[tuple[object, ...]]:
    """What takes a way of its own through the code: options, and the named parameters of each step together."""
    yield "symmetry", recipe.symmetry
    yield "rescaled", recipe.rescaled is not None
    yield from recipe.choices.items()
    for step in recipe.steps:
        values = step.model_dump(exclude={"id", *(type(step).not_columns)})
        yield step.id, *((name, value) for name, value in values.items() if isinstance(value, str | bool | None))


def _numbers(recipe: Recipe) -> Iterator[tuple[str, float]]:
    for step in recipe.steps:
        for name, value in step.model_dump(exclude={"id", *(type(step).not_columns)}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{step.id} {name}", float(value)


def _midpoints(drawn: Sequence[Probe]) -> dict[str, float]:
    """The middle of what was drawn for each parameter."""
    found: dict[str, list[float]] = {}
    for probe in drawn:
        for name, value in _numbers(probe.recipe):
            found.setdefault(name, []).append(value)
    return {name: (min(values) + max(values)) / 2 for name, values in found.items()}


def _halves(recipe: Recipe, split: dict[str, float]) -> Iterator[tuple[object, ...]]:
    """For every number whether it is in the lower or the upper half: code that asks for a limit has both ways."""
    for name, value in _numbers(recipe):
        yield name, value > split.get(name, value)


def _cover(traits: Sequence[set[tuple[object, ...]]], met: set[tuple[object, ...]]) -> Iterator[int]:
    """Numbers of those that meet most of what is not met yet, the first of equals, until nothing is left."""
    rest = set().union(*traits) - met
    for _ in range(MOST):
        if not rest:
            return
        best = max(range(len(traits)), key=lambda number: (len(traits[number] & rest), -number))
        yield best
        rest -= traits[best]
