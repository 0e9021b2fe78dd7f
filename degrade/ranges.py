"""What a preset says of each column of its recipes: the range a number is drawn from, the shares of names."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from degrade.columns import draw_columns
from degrade.operators.base import Operator
from degrade.preset import Choice, Preset, walk

_ALSO = {"sigma_x": "sigma", "sigma_y": "sigma", "size": "sizes", "family": "families", "mode": "modes"}
"""Draw field -> the operator's field that states it, where their names differ."""


@dataclass(frozen=True)
class Stated:
    """A column's stated `low` and `high`, or the `shares` (they sum to 1) of its names; neither where unknown.

    Shares are those among pairs to which the operator was applied.
    """

    low: float | None = None
    high: float | None = None
    shares: dict[str, float] = field(default_factory=dict)


def stated_ranges(preset: Preset) -> dict[str, Stated]:
    """Column (without the index's ``r_``) -> what the preset states of it; absent where it says nothing."""
    found: dict[str, Stated] = {}
    for node in walk(preset.steps):
        if isinstance(node, Choice):
            found[node.id] = _shares({name: option.weight for name, option in node.options.items()})
        elif isinstance(node, Operator):
            for name in draw_columns(type(node).draws):
                stated = _stated(node, name)
                if stated is not None:
                    key = f"{node.id}_{name}"
                    found[key] = stated if key not in found or found[key] == stated else _union(found[key], stated)
    return found


def _stated(node: Operator, name: str) -> Stated | None:
    special = _SPECIAL.get((type(node).model_fields["op"].default, name))
    if special is not None:
        return special(node)
    if name == "direction":
        return _shares({way: getattr(node, way) for way in ("up", "down", "keep")})
    value = getattr(node, _ALSO.get(name, name), None)
    if isinstance(value, dict):
        return _shares(value)
    if isinstance(value, tuple) and len(value) == 2:
        return Stated(float(value[0]), float(value[1]))
    kind = draw_columns(type(node).draws)[name]
    if isinstance(value, float) and kind == "bool":
        return _shares({"yes": value, "no": 1 - value})
    return None


def _family(node: Any) -> Stated:
    shares = _shares(node.families).shares
    return _shares({**{name: share * (1 - node.sinc) for name, share in shares.items()}, "sinc": node.sinc})


def _beta(node: Any) -> Stated:
    low, high = zip(node.beta_generalized, node.beta_plateau, strict=True)
    return Stated(min(low), max(high))


def _omega(node: Any) -> Stated:
    low, high = zip(node.sinc_small, node.sinc_large, strict=True)
    return Stated(min(low), max(high))


def _either_sigma(node: Any) -> Stated:
    """Of an isotropic blur, or the root of an eigenvalue."""
    low, high = (math.sqrt(value) for value in node.eigenvalues)
    return Stated(min(low, node.sigma[0]), max(high, node.sigma[1]))


def _root(node: Any) -> Stated:
    low, high = (math.sqrt(value) for value in node.eigenvalues)
    return Stated(low, high)


_SPECIAL = {
    ("blur", "family"): _family,
    ("blur", "beta"): _beta,
    ("blur", "omega"): _omega,
    ("eigen_blur", "sigma_x"): _either_sigma,
    ("eigen_blur", "sigma_y"): _root,
}
"""Columns that several fields of the operator state together, by (op, column)."""


def _shares(weights: dict[str, float]) -> Stated:
    total = sum(weights.values())
    return Stated(shares={name: weight / total for name, weight in weights.items() if weight > 0})


def _union(one: Stated, other: Stated) -> Stated:
    """The same operator in two alternatives with other values: the wider range; shares are then unknown."""
    if one.low is None or other.low is None or one.high is None or other.high is None:
        return Stated()
    return Stated(min(one.low, other.low), max(one.high, other.high))
