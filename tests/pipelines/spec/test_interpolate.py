"""``$(…)``: types are kept, names are checked, environment variables are used but never recorded."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipelines.spec.interpolate import Params, Scope, interpolate
from pipelines.spec.location import Location
from pipelines.spec.problems import Problems
from pipelines.spec.tree import Leaf
from tests.support.specs import SpecFolder

HERE = Location("spec.yaml", 1, 1)


def test_a_whole_value_keeps_its_type_and_a_part_becomes_text(specs: SpecFolder) -> None:
    spec = specs.load("""
        params: {n: 7, rate: 1e-4, all: {x: "1"}, name: s$(params.n), yes: true}
        stages:
          a: {uses: TOY:Noop, with: {n: $(params.n), rate: "$(params.rate)", labels: $(params.all)}}
          b: {uses: TOY:Noop, with: {labels: {x: "$(params.name)-$(params.rate)-$(params.yes)", y: $$(params.n)}}}
    """)
    assert spec.stages["a"].with_ == {"n": 7, "rate": 1e-4, "labels": {"x": "1"}}
    assert spec.stages["b"].with_ == {"labels": {"x": "s7-0.0001-true", "y": "$(params.n)"}}


def test_a_value_is_traced_to_where_it_was_written(specs: SpecFolder) -> None:
    spec = specs.load("""
        params:
          n: 7
          m: $(params.n)
        stages:
          a: {uses: TOY:Noop, with: {n: $(params.m)}}
    """)
    assert str(spec.stages["a"].where("with.n")).endswith("spec.yaml:4:6")


def test_environment_variables_are_recorded_by_name(specs: SpecFolder) -> None:
    specs.env = {"DATA": "/mnt/secret", "BUCKET": "s3://hidden/x"}
    spec = specs.load("""
        store: $(env.BUCKET)/store
        stages:
          a: {uses: TOY:Texts, with: {source: "$(env.DATA)/texts"}}
          b: {uses: TOY:Trainer, inputs: {texts: a}, with: {weights: $(env.DATA)}}
    """)
    assert spec.store == "s3://hidden/x/store"
    assert spec.stages["a"].config.model_dump()["source"] == "/mnt/secret/texts"
    assert spec.stages["b"].config.model_dump()["weights"] == "/mnt/secret"
    recorded = json.dumps(spec.to_json())
    assert "secret" not in recorded
    assert "hidden" not in recorded
    assert spec.stages["a"].with_["source"] == "$(env.DATA)/texts"
    assert spec.to_json()["store"] == "$(env.BUCKET)/store"


def test_environment_variables_cannot_leave_locations(specs: SpecFolder) -> None:
    specs.env = {"DATA": "/mnt/secret"}
    found = specs.errors("""
        params: {root: $(env.DATA)}
        stages:
          a: {uses: TOY:Noop, with: {labels: {x: $(env.DATA)}}}
          b: {uses: TOY:Noop, inputs: {after: $(env.DATA)}, notes: "$(env.DATA) stays as it is"}
    """)
    assert len(found) == 3
    assert all("$(env.DATA) in a field that is no location" in line for line in found)


def test_one_problem_for_a_parameter_however_often_it_is_used(specs: SpecFolder) -> None:
    found = specs.errors("""
        params: {a: $(params.b), b: $(params.missing)}
        stages:
          a: {uses: TOY:Noop, with: {n: $(params.a)}}
          b: {uses: TOY:Noop, with: {n: $(params.b), labels: 3}}
    """)
    assert [line.split(": ")[1] for line in found] == ["params.b", "stages.b.with.labels"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_escaped_text_stands_for_itself_around_an_insertion(before: str, after: str) -> None:
    def escaped(text: str) -> str:
        return text.replace("$(", "$$(").replace("${", "$${")

    if before.endswith("$"):
        before += " "
    problems = Problems()
    scope = Scope(Params(None, problems), problems, matrix={"x": Leaf(5, HERE, HERE)})
    written = Leaf(f"{escaped(before)}|$(matrix.x)|{escaped(after)}", HERE, HERE)
    found = interpolate(written, "field", scope)
    assert isinstance(found, Leaf)
    assert found.value == f"{before}|5|{after}"


def test_endless_chains_are_refused(specs: SpecFolder) -> None:
    chain = ", ".join(f"p{i}: $(params.p{i + 1})" for i in range(3000))
    found = specs.errors(f"params: {{{chain}, p3000: 1}}\nstages: {{a: {{uses: TOY:Noop}}}}")
    assert any("refers through more than 50 parameters" in line for line in found)


def test_lists_of_lists_cannot_explode(specs: SpecFolder) -> None:
    nested = "\n".join(f"  p{i + 1}: [{', '.join([f'$(params.p{i})'] * 10)}]" for i in range(8))
    found = specs.errors(f"params:\n  p0: [1, 2]\n{nested}\nstages: {{a: {{uses: TOY:Noop}}}}")
    assert any("insertions make more than 200,000 values" in line for line in found)
