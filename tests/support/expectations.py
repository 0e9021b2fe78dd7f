"""What a preset's YAML says of every column of its recipes, read without the code that draws them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
from scipy import linalg

from tests.support.laws import Constant, Law, Like, Uniform, Weights

PI = math.pi
Where = Mapping[str, Any]
PRESENT: Callable[[Any], bool] = lambda value: value is not None  # noqa: E731  # a condition of its own, with a name


@dataclass(frozen=True)
class Check:
    """The values `of` a column, in the rows where other columns have these values (or fulfil these conditions)."""

    column: str
    law: Law
    where: Where = field(default_factory=dict)
    of: Callable[[Any], Any] | None = None

    def rows(self, table: Mapping[str, np.ndarray]) -> np.ndarray:
        """[rows] of bool: where this check looks. A condition is not asked about null."""
        mask = np.ones(len(table[self.column]), dtype=bool)
        for column, wanted in self.where.items():
            here = np.flatnonzero(mask)
            found = table[column][here].tolist()
            fits = [value is not None and bool(wanted(value)) for value in found] if callable(wanted) else None
            mask[here] = [value == wanted for value in found] if fits is None else fits
        return mask

    def values(self, table: Mapping[str, np.ndarray]) -> list[Any]:
        chosen = table[self.column][self.rows(table)].tolist()
        return chosen if self.of is None else [self.of(value) for value in chosen]


def expected(raw: dict[str, Any], image_size: tuple[int, int], hr_size: int, scale: int) -> list[Check]:
    """Every check of one preset; `raw` is its YAML."""
    constants = {"preset": raw["name"], "scale": scale, "hr_height": hr_size, "hr_width": hr_size}
    framing = [
        *_axis("y", "height", raw["crop"], image_size, 0, hr_size, scale),
        *_axis("x", "width", raw["crop"], image_size, 1, hr_size, scale),
    ]
    symmetries = Check("symmetry", _symmetries(raw.get("augment", {})))
    return [*(Check(name, Constant(v)) for name, v in constants.items()), *framing, symmetries, *_steps(raw["steps"])]


def _axis(at: str, length: str, crop: dict, size: tuple[int, int], axis: int, hr: int, scale: int) -> Iterator[Check]:
    """Counted out: every place of the crop with every phase of the context around it."""
    side = size[axis]
    if crop.get("mode") == "rescaled":
        yield Check(f"box_{at}", Weights(dict.fromkeys(range(side - min(size) + 1), 1.0)))
        yield Check(f"box_{length}", Constant(min(size)))
        return
    starts: Counter[int] = Counter()
    lengths: Counter[int] = Counter()
    margin, phases = crop["margin"], crop["phases"]
    for place in range(side - hr + 1):
        for phase in range(phases):
            before = min(margin + phase, place // scale)
            after = min(margin + phases - 1 - phase, (side - hr - place) // scale)
            starts[place - before * scale] += 1
            lengths[hr + (before + after) * scale] += 1
    yield Check(f"box_{at}", Weights(dict(sorted(starts.items()))))
    yield Check(f"box_{length}", Weights(dict(sorted(lengths.items()))))


def _symmetries(augment: dict[str, float]) -> Weights:
    """Transposed first, then mirrored."""
    names = {"000": "e", "001": "v", "010": "h", "011": "r180", "100": "t", "101": "r90", "110": "r270", "111": "hvt"}
    chances = [augment.get(name, 0.0) for name in ("transpose", "hflip", "vflip")]
    pairs = {
        name: math.prod(p if bit == "1" else 1 - p for bit, p in zip(bits, chances, strict=True))
        for bits, name in names.items()
    }
    return Weights(pairs)


def _steps(steps: list[dict], where: Where = {}) -> Iterator[Check]:  # noqa: B006  # never changed
    for node in steps:
        if node["op"] == "choice":
            yield Check(node["id"], Weights({name: o["weight"] for name, o in node["options"].items()}), where)
            for name, option in node["options"].items():
                yield from _steps(option.get("steps", []), {**where, node["id"]: name})
        elif node["op"] == "sequence":
            yield from _sequence(node, where)
        else:
            yield from _operator(node, where)


def _sequence(node: dict, where: Where) -> Iterator[Check]:
    names = [step["id"] for step in node["steps"]]
    chance = node.get("p", 1)
    yield Check(node["id"], Weights({True: chance, False: 1 - chance}), where, PRESENT)
    inside = {**where, node["id"]: PRESENT}
    after = node.get("after", {})
    orders = {
        ",".join(order): 1.0
        for order in (permutations(names) if node.get("order") == "shuffled" else [tuple(names)])
        if all(order.index(late) > order.index(early) for late, early in after.items())
    }
    yield Check(node["id"], Weights(orders), inside)
    yield from _steps(node["steps"], inside)


def _operator(node: dict, where: Where) -> Iterator[Check]:
    name, chance = node["id"], node.get("p", 1)
    yield Check(f"{name}_applied", Weights({True: chance, False: 1 - chance}), where)
    applied = {**where, f"{name}_applied": True}
    for column, law, also, of in PARAMETERS[node["op"]](node):
        extra = {f"{name}_{other}": wanted for other, wanted in also.items()}
        yield Check(f"{name}_{column}", law, {**applied, **extra}, of)


Parameter = tuple[str, Law, Where, Callable[[Any], Any] | None]


def _parameter(column: str, law: Law, of: Callable[[Any], Any] | None = None, **where: Any) -> Parameter:
    return column, law, where, of


def _sizes(node: dict) -> Parameter:
    return _parameter("size", Weights(dict.fromkeys(range(node["sizes"][0], node["sizes"][1] + 1, 2), 1.0)))


def _blur(node: dict) -> Iterator[Parameter]:
    yield _sizes(node)
    total, sinc = sum(node["families"].values()), node.get("sinc", 0)
    yield _parameter(
        "family", Weights({**{n: w / total * (1 - sinc) for n, w in node["families"].items()}, "sinc": sinc})
    )
    yield _parameter("sigma_x", Uniform(*node["sigma"]), family=lambda family: family != "sinc")
    yield _parameter("sigma_y", Uniform(*node["sigma"]), family=lambda family: family.endswith("aniso"))
    yield _parameter("theta", Uniform(*node["theta"]), family=lambda family: family.endswith("aniso"))
    for kind in ("generalized", "plateau"):
        if any(name.startswith(kind) for name in node["families"]):
            yield from _beta(kind, *node[f"beta_{kind}"])
    if sinc:
        yield _parameter("omega", Uniform(*node["sinc_small"]), family="sinc", size=lambda size: size < 13)
        if node["sizes"][1] >= 13:
            yield _parameter("omega", Uniform(*node["sinc_large"]), family="sinc", size=lambda size: size >= 13)


def _beta(kind: str, low: float, high: float) -> Iterator[Parameter]:
    """Half of them from below 1 (or 1 itself, where the range starts there), half from above."""
    family = {"family": lambda family: family.startswith(kind)}
    yield _parameter("beta", Weights({True: 0.5, False: 0.5}), lambda beta: beta > 1, **family)
    below = Constant(1.0) if low == 1 else Uniform(low, 1)
    yield _parameter("beta", below, **family, beta=lambda beta: beta <= 1)
    yield _parameter("beta", Uniform(1, high), **family, beta=lambda beta: beta > 1)


def _sinc(node: dict) -> Iterator[Parameter]:
    yield _sizes(node)
    yield _parameter("omega", Uniform(*node["omega"]))


def _resize(node: dict) -> Iterator[Parameter]:
    low, high = node.get("factor", (1, 1))
    yield _parameter("direction", Weights({way: node.get(way, 0) for way in ("up", "down", "keep")}))
    yield _parameter("mode", Weights(node["modes"]))
    for direction, law in {"up": Uniform(1, high), "down": Uniform(low, 1), "keep": Constant(1.0)}.items():
        if node.get(direction):
            yield _parameter("factor", law, direction=direction)


def _gray(node: dict) -> Parameter:
    return _parameter("gray", Weights({True: node["gray"], False: 1 - node["gray"]}))


def _gaussian(node: dict) -> Iterator[Parameter]:
    yield from (_gray(node), _parameter("sigma", Uniform(*node["sigma"])))


def _poisson(node: dict) -> Iterator[Parameter]:
    yield from (_gray(node), _parameter("scale", Uniform(*node["scale"])))


def _jpeg(node: dict) -> Iterator[Parameter]:
    low, high = node["quality"]
    yield _parameter("quality", Weights(dict.fromkeys(range(low, high + 1), 1.0)))


def _eigen_blur(node: dict) -> Iterator[Parameter]:
    yield _sizes(node)
    yield _parameter("isotropic", Weights({True: node["isotropic"], False: 1 - node["isotropic"]}))
    yield _parameter("sigma_x", Uniform(*node["sigma"]), isotropic=True)
    for column in ("sigma_x", "sigma_y"):
        yield _parameter(column, Uniform(*node["eigenvalues"]), lambda sigma: sigma**2, isotropic=False)
    yield _parameter("theta", Uniform(*node["theta"]), isotropic=False)


def _shrink(node: dict) -> Iterator[Parameter]:
    low, high = node["divisor"]
    yield _parameter("divisor", Uniform(low, high) if low < high else Constant(low))
    yield _parameter("mode", Weights(node["modes"]))


def _decimate(node: dict) -> Iterator[Parameter]:
    yield _parameter("stride", Constant(node["stride"]))
    yield _parameter("sigma", Uniform(*node["sigma"]))


def _correlated(node: dict) -> Iterator[Parameter]:
    reference = reference_covariances(4000, node["sigma"])
    for place, column in enumerate(("var_r", "var_g", "var_b", "cov_rg", "cov_rb", "cov_gb")):
        yield _parameter(column, Like(reference[:, place]))


@lru_cache(maxsize=4)
def reference_covariances(count: int, sigma: float) -> np.ndarray:
    """[count, 6] of the covariances that BSRGAN's noise has, by SciPy: var r, g, b and cov rg, rb, gb.

    NumPy's sampler, which the reference calls, makes noise from the singular values of the magnitudes of U' D U.
    """
    generator = np.random.default_rng(0)
    result = []
    for _ in range(count):
        basis = linalg.orth(generator.random((3, 3)))
        magnitudes = np.abs(sigma**2 * basis.T @ np.diag(generator.random(3)) @ basis)
        _, strengths, rows = np.linalg.svd(magnitudes)
        real = rows.T @ np.diag(strengths) @ rows
        result.append([real[0, 0], real[1, 1], real[2, 2], real[0, 1], real[0, 2], real[1, 2]])
    return np.array(result)


PARAMETERS: dict[str, Callable[[dict], Iterator[Parameter]]] = {
    "blur": _blur,
    "sinc": _sinc,
    "resize": _resize,
    "gaussian": _gaussian,
    "poisson": _poisson,
    "jpeg": _jpeg,
    "imresize": lambda _: iter(()),
    "eigen_blur": _eigen_blur,
    "shrink": _shrink,
    "decimate": _decimate,
    "correlated": _correlated,
}
