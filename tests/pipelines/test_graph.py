"""The graph: order, edges, circles, kinds and facets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.graph import Edge
from tests.support.specs import SpecFolder


@pytest.fixture
def specs(tmp_path: Path) -> SpecFolder:
    return SpecFolder(tmp_path)


CHAIN = """
stages:
  score: {uses: TOY:Score, inputs: {models: [net, other], texts: join}}
  net: {uses: TOY:Trainer, inputs: {texts: upper}}
  other: {uses: TOY:Trainer, inputs: {texts: upper}}
  join: {uses: TOY:Join, inputs: {texts: upper.texts, preface: photos}}
  upper: {uses: TOY:Upper, inputs: {texts: photos}}
  photos: {uses: TOY:Texts, with: {source: ./texts}}
"""


def test_stages_come_after_what_they_need_and_else_as_written(specs: SpecFolder) -> None:
    graph = specs.graph(CHAIN)
    assert graph.order == ("photos", "upper", "net", "other", "join", "score")
    assert graph.upstream("join") == ("upper", "photos")
    assert graph.downstream("upper") == ("net", "other", "join")
    assert graph.ancestors("join") == {"upper", "photos"}
    assert graph.descendants("upper") == {"net", "other", "join", "score"}
    assert Edge("join", "joined", "score", "texts") in graph.edges


def test_the_first_output_is_meant_where_none_is_named(specs: SpecFolder) -> None:
    graph = specs.graph(CHAIN)
    [ref] = graph.spec.stages["score"].inputs["texts"]
    assert ref.output is None
    assert graph.output_slot(ref) == "joined"


def test_facets_travel_through_stages(specs: SpecFolder) -> None:
    graph = specs.graph(CHAIN)
    assert graph.outputs["join"]["joined"].facets == {"role": "texts", "scale": 4}
    assert graph.outputs["net"]["model"].facets == {"role": "sr", "family": "toy", "scale": 4}


def test_a_conflict_is_found_however_far_it_came(specs: SpecFolder) -> None:
    found = specs.errors(CHAIN, "stages.photos.with.scale=2")
    assert found == [
        "spec.yaml:4:67: stages.score.inputs.models: net has scale 2, and score needs 4",
        "spec.yaml:4:72: stages.score.inputs.models: other has scale 2, and score needs 4",
        "spec.yaml:4:87: stages.score.inputs.texts: join has scale 2, and score needs 4",
    ]


def test_what_is_not_known_is_not_refused(specs: SpecFolder) -> None:
    graph = specs.graph(f"""
        stages:
          upper: {{uses: TOY:Upper, inputs: {{texts: "artifact:{"0" * 64}"}}}}
          join: {{uses: TOY:Join, inputs: {{texts: upper}}, with: {{scale: 7}}}}
    """)
    assert graph.edges == (Edge("upper", "texts", "join", "texts"),)


def test_every_circle_is_shown_once_and_what_hangs_on_it_is_not(specs: SpecFolder) -> None:
    found = specs.errors("""
        stages:
          a: {uses: TOY:Upper, inputs: {texts: b}}
          b: {uses: TOY:Upper, inputs: {texts: a}}
          after: {uses: TOY:Upper, inputs: {texts: b}}
          self: {uses: TOY:Upper, inputs: {texts: self}}
    """)
    assert [line.partition("a circle: ")[2] for line in found] == ["a needs b needs a", "self needs self"]


def test_a_broken_stage_raises_no_false_alarm_downstream(specs: SpecFolder) -> None:
    found = specs.errors(CHAIN, "stages.photos.with.scale=none")
    assert found == ["--set #1: stages.photos.with.scale: got 'none' (text)"]
    found = specs.errors(CHAIN, "stages.upper.uses=nothing.here")
    assert found == [
        "--set #1: stages.upper.uses: no stage is called 'nothing.here'; `sharpline stages` lists what there is"
    ]


def test_a_fault_in_a_stage_class_is_told_with_its_place(specs: SpecFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import toy_stages

    def broken(*_: object) -> None:
        raise KeyError("scale")

    monkeypatch.setattr(toy_stages.Upper, "outputs", broken)
    [found] = specs.errors(
        "stages:\n  photos: {uses: TOY:Texts, with: {source: x}}\n  u: {uses: TOY:Upper, inputs: {texts: photos}}"
    )
    assert found == "spec.yaml:5:13: stages.u: the stage's outputs() failed: KeyError: 'scale'"


def test_a_long_chain_is_no_deep_recursion(specs: SpecFolder) -> None:
    lines = [f"  s{i}: {{uses: TOY:Noop, inputs: {{after: s{i + 1}}}}}" for i in range(1500)]
    graph = specs.graph("stages:\n" + "\n".join([*lines, "  s1500: {uses: TOY:Noop}"]))
    assert graph.order[:2] == ("s1500", "s1499")
    assert len(graph.ancestors("s0")) == 1500
