"""What a loaded spec holds, and what must never come out of the loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.graph import build_graph
from pipelines.spec.load import load_spec
from pipelines.spec.problems import Problem, SpecErrors
from pipelines.spec.versions import Migration, migrate_text, migrate_tree
from tests.support.specs import SpecFolder, spec_text

DIGEST = "ab" * 32

WHOLE = f"""
notes: how it was meant
params: {{scale: 2}}
stages:
  photos: {{uses: TOY:Texts, with: {{source: ./texts, scale: $(params.scale)}}, retries: 0}}
  net:
    uses: TOY:Trainer
    inputs: {{texts: photos.texts}}
    with: {{optimizer: {{rate: 0.25}}, clip: null}}
    resources: {{gpus: 0.5, custom: {{tpu: 1}}}}
    notes: |
      Two lines,
      for people.
  finished: {{uses: TOY:Upper, inputs: {{texts: "artifact:{DIGEST}"}}}}
"""


def test_a_spec_is_typed_and_resolved(specs: SpecFolder) -> None:
    spec = specs.load(WHOLE)
    assert (spec.name, spec.file, spec.params) == ("toy", specs.path / "spec.yaml", {"scale": 2})
    photos, net, finished = spec.stages.values()
    assert photos.retries == 0
    assert net.retries == 2
    assert photos.config.model_dump() == {"source": str(specs.path / "texts"), "scale": 2, "encoding": "utf-8"}
    assert (net.resources.cpus, net.resources.gpus, net.resources.custom) == (2, 0.5, {"tpu": 1})
    assert net.notes == "Two lines,\nfor people.\n"
    [ref] = net.inputs["texts"]
    assert (ref.stage, ref.output, ref.uri, ref.where.line) == ("photos", "texts", None, 9)
    [ref] = finished.inputs["texts"]
    assert (ref.stage, ref.uri, ref.label) == (None, f"artifact:{DIGEST}", "artifact:abababababab")


def test_the_record_of_a_spec_is_json(specs: SpecFolder) -> None:
    data = json.loads(json.dumps(specs.load(WHOLE).to_json()))
    assert data["schema"] == 1
    assert data["stages"]["net"]["inputs"] == {"texts": ["photos.texts"]}
    assert data["stages"]["finished"]["inputs"] == {"texts": [f"artifact:{DIGEST}"]}


def test_the_users_own_code_is_found_beside_the_spec(specs: SpecFolder) -> None:
    package = specs.path / "lib" / "sharpline_test_shout"
    package.mkdir(parents=True)
    (package / "loud.py").write_text(
        "from tests.support.toy_stages import Upper\nclass Loud(Upper):\n    name = 'sharpline_test_shout.loud:Loud'\n"
    )
    spec = specs.load("""
        code: lib/sharpline_test_shout
        stages: {a: {uses: sharpline_test_shout.loud:Loud, inputs: {texts: b}}, b: {uses: TOY:Texts, with: {source: .}}}
    """)
    assert spec.code == (package,)
    assert spec.stages["a"].stage.__module__ == "sharpline_test_shout.loud"


@pytest.mark.parametrize("package", ["stages", "my-package", "file.txt"])
def test_code_that_could_not_be_imported_is_refused(specs: SpecFolder, package: str) -> None:
    (specs.path / package).mkdir()
    assert len(specs.errors(f"code: [./{package}]\nstages: {{a: {{uses: TOY:Noop}}}}")) == 1


def test_everything_wrong_is_reported_at_once(specs: SpecFolder) -> None:
    found = specs.errors("""
        nmae: x
        params: {a: $(params.b)}
        stages:
          photos: {uses: TOY:Texts, with: {source: 5, scale: $(params.a)}}
          upper: {uses: TOY:Upper, inputs: {texts: photos.nothing, more: photos}, with: {delay: -1}}
          join: {uses: TOY:Join, inputs: {texts: uper}, resources: {gpus: two}}
    """)
    assert [line.split(": ", 2)[1] for line in found] == [
        "nmae", "params.a", "stages.photos.with.source", "stages.upper.inputs.more", "stages.upper.with.delay",
        "stages.join.inputs.texts", "stages.join.resources.gpus",
    ]  # fmt: skip


def test_problems_of_the_graph_join_those_of_the_spec(specs: SpecFolder) -> None:
    found = specs.errors("""
        stages:
          photos: {uses: TOY:Texts, with: {source: ./texts}}
          join: {uses: TOY:Join, inputs: {texts: photos}}
          upper: {uses: TOY:Upper, inputs: {texts: join.counts}}
          typo: {uses: TOY:Noop, wiht: {}}
    """)
    assert [line.split(": ", 2)[1] for line in found] == ["stages.upper.inputs.texts", "stages.typo.wiht"]


def test_an_older_spec_is_migrated_step_by_step() -> None:
    steps = {
        1: Migration(lambda root: root, lambda text: text.replace("sharpline: 1", "sharpline: 2")),
        2: Migration(lambda root: root, lambda text: text.replace("sharpline: 2", "sharpline: 3")),
    }
    assert migrate_text("sharpline: 1  # kept\n", 1, steps) == "sharpline: 3  # kept\n"
    assert migrate_text("sharpline: 3\n", 3, steps) == "sharpline: 3\n"
    from pipelines.spec.location import Location
    from pipelines.spec.tree import MapNode

    root = MapNode({}, Location("spec.yaml", 1, 1))
    assert migrate_tree(root, 1, steps) is root


# ---------------------------------------------------------------- whatever the bytes are

FRAGMENTS = [
    "sharpline: 1\n", "name: x\n", "stages:\n", "  a:\n", "    uses: tests.support.toy_stages:Noop\n",
    "    with: {n: 3}\n", "    inputs: {after: [a, b@x=1.out]}\n", "    matrix: {x: [1, 2]}\n",
    "params: {p: $(params.p)}\n",
    "extends: spec.yaml\n", "$(", "${", "$(params.p)", "&a ", "*a", "<<: ", "? ", "- ", "[", "]", "{", "}", "'", '"',
    "|\n", "\t", "---\n", "...\n", "%YAML 1.2\n", "!!", "#", ": ", "null", "1e999", "\\", "\u2028", "\x85", "\x00", "é",
    "😀", "\r",   "    resources: {gpus: $(matrix.x), custom: null}\n", "    retries: yes\n", "code: .\n",
    "store: $(env.X)\n", "notes: \n",
]  # fmt: skip


def outcome(path: Path, data: bytes, overrides: list[str]) -> None:
    """Load `data`: a spec, or located problems; anything else fails the test."""
    path.write_bytes(data)
    problems: list[Problem] = []
    try:
        build_graph(load_spec(path, overrides, {"X": "y"}))
    except SpecErrors as errors:
        problems = errors.problems
        assert problems, "an error without a problem"
    for problem in problems:
        assert problem.where.line >= 1
        assert problem.where.column >= 1
        assert problem.message
        json.dumps(problem.to_json())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_spec_or_located_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    outcome(tmp_path_factory.getbasetemp() / "spec.yaml", data, [])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25), st.lists(st.sampled_from(FRAGMENTS), max_size=4))
@example(["sharpline: 1\n", "stages:\n"], ["stages.a=", "*a"])
def test_any_pieces_of_specs_give_a_spec_or_located_problems(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], override: list[str]
) -> None:
    overrides = ["stages.a.with.n=" + "".join(override)] if override else []
    outcome(tmp_path_factory.getbasetemp() / "spec.yaml", "".join(pieces).encode(), overrides)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_to_a_spec_gives_a_spec_or_located_problems(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = spec_text(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from([*FRAGMENTS, ""])) + text[end:]
    outcome(tmp_path_factory.getbasetemp() / "spec.yaml", text.encode(), [])
