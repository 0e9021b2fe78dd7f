"""Every sampled parameter of every preset has the distribution that its YAML states, and a slightly wrong one is seen.

Seeds are fixed. The level is 1 % for all checks of all presets together (Bonferroni), so that a correct sampler with
other seeds would fail one run in a hundred.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from itertools import combinations
from zlib import crc32

import numpy as np
import pytest
import yaml
from scipy import stats

from degrade.presets import load_preset, preset_names
from degrade.recipe import Recipe, sample_recipe
from tests.support.expectations import Check, expected
from tests.support.laws import Constant, Like, Uniform, Weights

IMAGE = "0123456789abcdef" * 4
SIZE, HR, COUNT = (720, 1000), 256, 6000
LEVEL = 0.01

FOLLOWS = {
    "height": "floor(side * factor), tested below: sizes follow from what was drawn",
    "width": "floor(side * factor), tested below: sizes follow from what was drawn",
}
"""Columns of operators that are not drawn, and what they follow from."""


RARE = {"body", "gaussian_gray", "halving_mode", "sinc3_size"}
"""Choices in which a weight off by 0.05 is not seen: BSRGAN's 360 orders (pairs of them are tested in test_bsrgan),
its gray noise and the quarter that it halves, the fifth of ImageNet-Test that has a last sinc. Other weights of the
same operators are seen in other presets."""


def scale_of(preset: str) -> int:
    return load_preset(preset).scale or 4


def draw(preset: str, crop: int) -> Recipe:
    seed = crc32(preset.encode())  # presets with the same operator draw apart, so that their values can be pooled
    return sample_recipe(
        load_preset(preset), seed=seed, image=IMAGE, crop=crop, image_size=SIZE, hr_size=HR, scale=scale_of(preset)
    )


@lru_cache(maxsize=len(preset_names()))
def table(preset: str) -> dict[str, np.ndarray]:
    """Column -> its values in COUNT recipes, as objects (null is None)."""
    names = list(load_preset(preset).columns())
    rows = (draw(preset, crop).columns() for crop in range(COUNT))
    values = np.array([[row[name] for name in names] for row in rows], dtype=object)
    return {name: values[:, place] for place, name in enumerate(names)}


@lru_cache(maxsize=len(preset_names()))
def checks(preset: str) -> tuple[Check, ...]:
    text = (resources.files("degrade") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    return tuple(expected(yaml.safe_load(text), SIZE, HR, scale_of(preset)))


@lru_cache(maxsize=1)
def level() -> float:
    """The level of one check."""
    return LEVEL / sum(len(checks(preset)) for preset in preset_names())


def label(check: Check) -> str:
    return f"{check.column} where {sorted(check.where)}"


@pytest.mark.parametrize("preset", preset_names())
def test_what_is_drawn_has_the_distribution_that_the_preset_states(preset):
    wrong = []
    for check in checks(preset):
        values = check.values(table(preset))
        assert len(values) >= 20, f"{label(check)}: {len(values)} values are too few to say anything"
        assert None not in values, f"{label(check)}: null where the preset states a value"
        if check.law.pvalue(values) < level():
            wrong.append(f"{label(check)}: {len(values)} values do not look like {check.law}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("preset", preset_names())
def test_every_column_is_checked_and_null_wherever_no_check_looks(preset):
    by_column: dict[str, list[Check]] = {}
    for check in checks(preset):
        by_column.setdefault(check.column, []).append(check)
    declared = load_preset(preset).columns()
    assert set(by_column) <= set(declared)
    for column in set(declared) - set(by_column):
        unused = set(table(preset)[column].tolist()) == {None}
        assert unused or column.rpartition("_")[2] in FOLLOWS, f"{preset}: nothing checks {column}"
    for column, found in by_column.items():
        looked = np.any([check.rows(table(preset)) for check in found], axis=0)
        elsewhere = set(table(preset)[column][~looked].tolist())
        assert elsewhere <= {None, False}, f"{preset}: {column} is {elsewhere} where the preset states nothing"


@lru_cache(maxsize=1)
def pooled() -> list[tuple[set[str], Weights, list[object]]]:
    """Columns, law and values of what has the same name and weights, over all presets: they share code."""
    found: dict[str, tuple[set[str], Weights, list[object]]] = {}
    for preset in preset_names():
        for check in checks(preset):
            if isinstance(check.law, Weights) and check.where and check.law.varied():
                name = check.column.rpartition("_")[2]
                columns, _, values = found.setdefault(f"{name} {check.law}", (set(), check.law, []))
                columns.add(check.column)
                values.extend(check.values(table(preset)))
    return list(found.values())


def test_rarer_choices_have_their_weights_over_all_presets():
    for columns, law, values in pooled():
        assert law.pvalue(values) > LEVEL / len(pooled()), f"{columns}: {len(values)} values do not look like {law}"


@pytest.mark.parametrize("kind", [Uniform, Weights, Constant, Like])
def test_nearby_wrong_distributions_are_told_apart(kind):
    """A range a tenth too wide or narrow, a weight off by 0.05, another constant, a covariance a quarter too large."""
    tried, missed = 0, []
    for preset in preset_names():
        for check in checks(preset):
            if isinstance(check.law, kind):
                values = check.values(table(preset))
                for law in check.law.wrong(len(values)):
                    tried += 1
                    if law.pvalue(values) >= level():
                        missed.append(f"{preset}: {label(check)} passes as {law}")
    assert tried >= {Uniform: 400, Weights: 100, Constant: 50, Like: 6}[kind]
    assert not missed, "\n".join(missed)


def test_a_weight_off_by_a_twentieth_is_seen_in_every_rarer_choice():
    for columns, law, values in pooled():
        wrongs = list(law.wrong(len(values)))
        assert wrongs or columns <= RARE, f"{columns}: {len(values)} values cannot show what is wrong with {law}"
        for wrong in wrongs:
            assert wrong.pvalue(values) < LEVEL / len(pooled()), f"{columns}: {len(values)} values pass as {wrong}"


@pytest.mark.parametrize("preset", ["real-esrgan", "resshift"])
def test_operators_draw_independently_of_each_other(preset):
    drawn = {name: table(preset)[name] for name, kind in load_preset(preset).columns().items() if kind == "float"}
    pairs = [
        (first, second)
        for first, second in combinations(drawn, 2)
        if first.partition("_")[0] != second.partition("_")[0]
    ]
    generator = np.random.default_rng(0)
    for first, second in pairs:
        both = [(a, b) for a, b in zip(drawn[first], drawn[second], strict=True) if a is not None and b is not None]
        x, y = np.array(both or [(0, 0)], dtype=np.float64).T
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            continue  # a constant, or the two exclude each other
        assert stats.spearmanr(x, y).pvalue > LEVEL / len(pairs), (first, second)
        if len(both) > 2000:  # the power: a tenth of one operator's draws taken over from the other
            stolen = np.where(generator.random(len(x)) < 0.15, stats.rankdata(x), stats.rankdata(y))
            assert stats.spearmanr(x, stolen).pvalue < LEVEL / len(pairs), (first, second)


@pytest.mark.parametrize("preset", preset_names())
def test_sizes_follow_from_what_was_drawn(preset):
    bases = {step["id"]: step.get("of") for step in _raw_operators(preset)}
    for crop in range(100):
        recipe = draw(preset, crop)
        size = recipe.context
        lr = tuple(side // recipe.scale for side in recipe.context)
        for step in recipe.steps:
            before = size
            if step.op == "resize":
                base = lr if bases[step.id] == "lr" else size
                size = tuple(max(1, int(side * step.factor)) for side in base)
            elif step.op == "shrink":
                size = tuple(max(1, int(side / step.divisor)) for side in size)
            elif step.op == "decimate":
                size = tuple(len(range(0, side, step.stride)) for side in size)
            elif step.op == "imresize":
                size = lr
            assert step.output_size(before) == size
        assert size == lr


def _raw_operators(preset: str) -> list[dict]:
    text = (resources.files("degrade") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    found, open_nodes = [], list(yaml.safe_load(text)["steps"])
    while open_nodes:
        node = open_nodes.pop()
        open_nodes += node.get("steps", []) + [s for o in node.get("options", {}).values() for s in o.get("steps", [])]
        found.append(node)
    return found
