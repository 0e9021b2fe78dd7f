"""--select: what each form chooses."""

from __future__ import annotations

import pytest

from pipelines.errors import UsageError
from pipelines.graph import Graph
from pipelines.spec.select import Selection, parse_select
from tests.support.specs import SpecFolder

SPEC = """
stages:
  photos: {uses: TOY:Texts, with: {source: ./texts}}
  upper: {uses: TOY:Upper, inputs: {texts: photos}}
  net:
    uses: TOY:Trainer
    matrix: {mode: [hr, lr], seed: [1, 2]}
    inputs: {texts: upper}
  score: {uses: TOY:Score, inputs: {models: net, texts: upper}}
"""
CELLS = {f"net@mode={mode},seed={seed}" for mode in ("hr", "lr") for seed in (1, 2)}


@pytest.fixture
def graph(specs: SpecFolder) -> Graph:
    return specs.graph(SPEC)


@pytest.mark.parametrize(
    ("texts", "stages"),
    [
        (["upper"], {"upper"}),
        (["+upper"], {"photos", "upper"}),
        (["upper+"], {"upper", "score"} | CELLS),
        (["+net@mode=hr,seed=1"], {"photos", "upper", "net@mode=hr,seed=1"}),
        (["net"], CELLS),
        (["net@seed=2"], {"net@mode=hr,seed=2", "net@mode=lr,seed=2"}),
        (["net@seed=0x2"], {"net@mode=hr,seed=2", "net@mode=lr,seed=2"}),
        (["net@seed=1,mode=lr+"], {"net@mode=lr,seed=1", "score"}),
        (["+upper+"], {"photos", "upper", "score"} | CELLS),
        (["photos", "score"], {"photos", "score"}),
        ([], {"photos", "upper", "score"} | CELLS),
    ],
)
def test_stages_are_chosen(graph: Graph, texts: list[str], stages: set[str]) -> None:
    assert parse_select(texts, graph) == Selection(stages, {})


def test_brackets_choose_partitions(graph: Graph) -> None:
    assert parse_select(["upper[3, 17]"], graph) == Selection({"upper"}, {"upper": {"3", "17"}})
    assert parse_select(["upper[3]", "upper[4]"], graph).partitions == {"upper": {"3", "4"}}
    assert parse_select(["upper[failed]"], graph) == Selection({"upper"}, {"upper": "failed"})
    assert parse_select(["upper[3]", "upper"], graph) == Selection({"upper"}, {})
    assert parse_select(["+upper[3]"], graph) == Selection({"photos", "upper"}, {"upper": {"3"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uper", "no stage is called 'uper'; did you mean 'upper'?"),
        ("zzz", "no stage is called 'zzz'; there are: photos, upper, net, score"),
        ("net@sede=1", "'net' has no such cell; its cells are: net@mode=hr,seed=1"),
        ("upper@seed=1", "'upper' has no such cell; it has no matrix"),
        ("net[3]", "net@mode=hr,seed=1 is not partitioned"),
        ("upper[]", "expected partitions such as [3,17], or [failed]"),
        ("upper[3,failed]", "[failed] stands alone"),
        ("2+upper", "expected stage, +stage, stage+, stage@axis=value, stage[3,17] or stage[failed]"),
        ("", "expected stage, +stage"),
    ],
)
def test_a_wrong_selection_is_explained(graph: Graph, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_select([text], graph)
    assert message in str(caught.value)


def test_named_and_failed_partitions_do_not_mix(graph: Graph) -> None:
    with pytest.raises(UsageError, match="choose one of them"):
        parse_select(["upper[3]", "upper[failed]"], graph)
