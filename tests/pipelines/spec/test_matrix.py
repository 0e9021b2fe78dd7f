"""Matrix stages: cells, their names, and how others take them."""

from __future__ import annotations

from tests.support.specs import SpecFolder

BASE = """
params: {seeds: [1, 2]}
stages:
  photos: {uses: TOY:Texts, with: {source: ./texts}}
  net:
    uses: TOY:Trainer
    inputs: {texts: photos}
    matrix: {seed: $(params.seeds), mode: [hr, lr.x]}
    with: {seed: $(matrix.seed), optimizer: {rate: 0.5}}
    resources: {cpus: $(matrix.seed)}
"""


def test_cells_are_named_by_their_sorted_axes(specs: SpecFolder) -> None:
    spec = specs.load(BASE)
    assert list(spec.stages)[1:] == [
        "net@mode=hr,seed=1", "net@mode=hr,seed=2", "net@mode=lr.x,seed=1", "net@mode=lr.x,seed=2",
    ]  # fmt: skip
    cell = spec.stages["net@mode=hr,seed=2"]
    assert (cell.base, cell.axes) == ("net", {"mode": "hr", "seed": 2})
    assert cell.config.model_dump()["seed"] == 2
    assert cell.resources.cpus == 2
    assert cell.with_ == {"seed": 2, "optimizer": {"rate": 0.5}}


def test_a_many_slot_takes_all_cells_labelled(specs: SpecFolder) -> None:
    graph = specs.graph(BASE + "  score: {uses: TOY:Score, inputs: {models: [net@mode=lr.x], texts: photos}}\n")
    refs = graph.spec.stages["score"].inputs["models"]
    assert [ref.label for ref in refs] == ["net@mode=lr.x,seed=1", "net@mode=lr.x,seed=2"]
    graph = specs.graph(BASE + "  score: {uses: TOY:Score, inputs: {models: net, texts: photos}}\n")
    assert len(graph.upstream("score")) == 5


def test_a_cell_with_an_output_although_values_hold_dots(specs: SpecFolder) -> None:
    spec = specs.load(
        BASE + "  score: {uses: TOY:Score, inputs: {models: 'net@seed=1,mode=lr.x.model', texts: photos}}\n"
    )
    [ref] = spec.stages["score"].inputs["models"]
    assert (ref.stage, ref.output) == ("net@mode=lr.x,seed=1", "model")


def test_a_cell_follows_a_cell(specs: SpecFolder) -> None:
    graph = specs.graph(
        BASE + "  score:\n    uses: TOY:Score\n    matrix: {s: $(params.seeds)}\n"
        "    inputs: {models: 'net@seed=$(matrix.s),mode=hr', texts: photos}\n"
    )
    assert graph.upstream("score@s=2") == ("net@mode=hr,seed=2", "photos")
    assert graph.downstream("net@mode=hr,seed=1") == ("score@s=1",)


def test_setting_a_value_of_a_matrix_stage_sets_it_in_every_cell(specs: SpecFolder) -> None:
    spec = specs.load(BASE, "stages.net.with.steps=3")
    assert {stage.config.model_dump()["steps"] for stage in spec.stages.values() if stage.base == "net"} == {3}


def test_a_broken_matrix_does_not_break_its_consumers(specs: SpecFolder) -> None:
    found = specs.errors(
        BASE.replace("[hr, lr.x]", "hr") + "  score: {uses: TOY:Score, inputs: {models: net@mode=hr, texts: photos}}\n"
    )
    assert found == ["spec.yaml:9:43: stages.net.matrix.mode: the axis is 'hr' (text)"]


def test_a_wrong_field_of_a_matrix_stage_is_one_problem(specs: SpecFolder) -> None:
    assert len(specs.errors(BASE, "stages.net.with.stpes=3")) == 1


def test_a_wrong_value_of_one_cell_is_found(specs: SpecFolder) -> None:
    found = specs.errors(BASE, "params.seeds=[1, x]")
    assert "spec.yaml:10:18: stages.net.with.seed: got 'x' (text), written at --set #1" in found


def test_uses_may_follow_the_matrix(specs: SpecFolder) -> None:
    spec = specs.load("stages:\n  a: {uses: 'TOY:$(matrix.kind)', matrix: {kind: [Noop, Fail]}}\n")
    assert [stage.stage.__name__ for stage in spec.stages.values()] == ["Noop", "Fail"]
