"""Layers: what a spec extends, in order, then the file, then --set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.spec.location import Location
from pipelines.spec.merge import merge
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, plain
from tests.support.specs import SpecFolder

NET = """
stages:
  photos: {uses: TOY:Texts, with: {source: ./texts, scale: 4}}
  net:
    uses: TOY:Trainer
    inputs: {texts: photos}
    with: {steps: 20, optimizer: {rate: 0.25, milestones: [1, 2]}}
"""


def test_maps_merge_deeply_and_lists_replace(specs: SpecFolder) -> None:
    specs.write(NET, "base.yaml")
    spec = specs.load("""
        extends: base.yaml
        stages:
          net:
            with: {optimizer: {milestones: [9]}, seed: 3}
    """)
    assert spec.stages["net"].with_ == {"steps": 20, "optimizer": {"rate": 0.25, "milestones": [9]}, "seed": 3}


def test_later_layers_win_and_each_leaf_knows_its_file(specs: SpecFolder) -> None:
    specs.write(NET, "base.yaml")
    specs.write("stages: {net: {with: {steps: 30, seed: 1}}}", "more/second.yaml")
    spec = specs.load(
        "extends: [base.yaml, more/second.yaml]\nstages: {net: {with: {seed: 2}}}", "stages.net.with.clip=null"
    )
    net = spec.stages["net"]
    assert net.with_ == {"steps": 30, "optimizer": {"rate": 0.25, "milestones": [1, 2]}, "seed": 2, "clip": None}
    places = {field: net.where(f"with.{field}") for field in ("steps", "optimizer.rate", "seed", "clip", "delay")}
    written = {field: where and (os.path.basename(where.file), where.line) for field, where in places.items()}
    assert written == {
        "steps": ("second.yaml", 3), "optimizer.rate": ("base.yaml", 8), "seed": ("spec.yaml", 4),
        "clip": ("--set #1", 1), "delay": None,
    }  # fmt: skip


def test_null_deletes(specs: SpecFolder) -> None:
    specs.write(NET, "base.yaml")
    spec = specs.load("""
        extends: base.yaml
        stages:
          net: null
          other: {uses: TOY:Noop, with: {n: null}, notes: null}
    """)
    assert list(spec.stages) == ["photos", "other"]
    assert spec.stages["other"].config.model_dump()["n"] == 0


def test_null_is_a_value_where_a_field_may_be_null(specs: SpecFolder) -> None:
    assert specs.load(NET).stages["net"].config.model_dump()["clip"] == 1.0
    assert specs.load(NET, "stages.net.with.clip=null").stages["net"].config.model_dump()["clip"] is None
    assert specs.load(NET, "stages.net.with.steps=null").stages["net"].config.model_dump()["steps"] == 10


def test_another_stage_starts_with_an_empty_config(specs: SpecFolder) -> None:
    specs.write(NET, "base.yaml")
    spec = specs.load("extends: base.yaml\nstages: {net: {uses: TOY:Upper, with: {suffix: x}}}")
    assert spec.stages["net"].with_ == {"suffix": "x"}
    assert spec.stages["net"].inputs["texts"][0].stage == "photos"


def test_a_diamond_of_layers_is_no_circle(specs: SpecFolder) -> None:
    specs.write(NET, "base.yaml")
    specs.write("extends: base.yaml", "left.yaml")
    specs.write("extends: base.yaml", "right.yaml")
    assert "net" in specs.load("extends: [left.yaml, right.yaml]").stages


def test_a_circle_of_layers_is_shown(specs: SpecFolder) -> None:
    specs.write("extends: two.yaml", "one.yaml")
    specs.write("extends: one.yaml", "two.yaml")
    assert specs.errors("extends: one.yaml") == ["two.yaml:3:10: extends: a circle: one.yaml -> two.yaml -> one.yaml"]


def test_problems_of_all_layers_are_shown_together(specs: SpecFolder) -> None:
    specs.write("stages: [", "one.yaml")
    specs.write("params: {a: .nan}", "two.yaml")
    found = specs.errors("extends: [one.yaml, two.yaml, three.yaml]", "a b=1")
    assert [line.split(":")[0] for line in found] == ["--set #1", "one.yaml", "spec.yaml", "two.yaml"]


def test_paths_belong_to_the_file_that_wrote_them(specs: SpecFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    specs.write(NET + "store: ../store\nparams: {root: ./deep}", "shared/base.yaml")
    elsewhere = specs.path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    body = """
        extends: shared/base.yaml
        stages:
          here: {uses: TOY:Texts, with: {source: ./texts/*.txt}}
          there: {uses: TOY:Texts, with: {source: $(params.root)/texts}}
          bundled: {uses: TOY:Texts, with: {source: "skimage:photos"}}
          bucket: {uses: TOY:Texts, with: {source: "s3://bucket/a/../b"}}
          shell: {uses: TOY:Texts, with: {source: x}}
    """
    spec = specs.load(body, "stages.shell.with.source=./texts")
    sources = {name: stage.with_["source"] for name, stage in spec.stages.items() if name != "net"}
    root = str(specs.path)
    assert sources == {
        "photos": f"{root}/shared/texts",
        "here": f"{root}/texts/*.txt",
        "there": f"{root}/shared/deep/texts",
        "bundled": "skimage:photos",
        "bucket": "s3://bucket/a/../b",
        "shell": f"{root}/elsewhere/texts",
    }
    assert spec.store == f"{root}/store"


def test_the_store_is_beside_the_spec_by_default(specs: SpecFolder) -> None:
    assert specs.load(NET).store == str(specs.path / ".sharpline")
    assert specs.load(NET, "store=s3://bucket/prefix").store == "s3://bucket/prefix"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.net.with.steps", "--set #1: 'stages.net.with.steps' is no assignment"),
        ("stages..with=1", "--set #1: 'stages..with=1' is no assignment"),
        ("sharpline=1", "--set #1: sharpline belongs to a file"),
        ("stages.net@seed=1.with.steps=3", "--set #1: 'stages.net@seed' names a cell"),
        ("stages.nett.with.steps=3", "--set #1: stages.nett: no stage of this name to set"),
        ("params.scael=3", "--set #1: params.scael: no param of this name to set"),
        ("stages.net.with.steps=[1", "--set #1: a list `[` that is not closed here"),
        ("stages.net.with.steps=many", "--set #1: stages.net.with.steps: got 'many' (text)"),
        ("stages.net.wiht.steps=3", "--set #1: stages.net.wiht: unknown field"),
    ],
)
def test_a_wrong_override_is_located(specs: SpecFolder, override: str, message: str) -> None:
    assert message in specs.errors("params: {scale: 4}\n" + NET.lstrip(), override)


def test_an_override_is_pointed_at(specs: SpecFolder) -> None:
    from pipelines.spec.load import load_spec
    from pipelines.spec.problems import SpecErrors

    with pytest.raises(SpecErrors, match="got 'x'") as caught:
        load_spec(specs.write(NET), ["stages.net.with.steps=x"])
    assert "stages.net.with.steps=x\n      |                       ^\n" in str(caught.value)


VALUES = {
    "stages.net.with.steps": ("20", st.integers(1, 10**6).map(str)),
    "stages.net.with.optimizer.rate": ("0.25", st.floats(0.001, 1).map(repr)),
    "stages.net.with.optimizer.milestones": ("[1, 2]", st.lists(st.integers(), max_size=3).map(str)),
    "stages.net.with.optimizer": (
        "{rate: 0.25, milestones: [1, 2]}", st.just("{rate: 0.5, milestones: [3], warmup: 1}"),
    ),
    "stages.photos.with.scale": ("4", st.integers(1, 8).map(str)),
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_setting_a_value_is_editing_the_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    specs = SpecFolder(tmp_path_factory.getbasetemp())
    path = data.draw(st.sampled_from(sorted(VALUES)))
    before, values = VALUES[path]
    value = data.draw(values)
    field = path.rpartition(".")[2]
    edited = NET.replace(f"{field}: {before}", f"{field}: {value}", 1)
    assert specs.load(NET, f"{path}={value}").to_json() == specs.load(edited).to_json()


# ---------------------------------------------------------------- the laws of merging

HERE = Location("x", 1, 1)
SCALARS = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.booleans())


def node(value: object) -> Node:
    if isinstance(value, dict):
        return MapNode({k: node(v) for k, v in value.items()}, HERE, dict.fromkeys(value, HERE))
    if isinstance(value, list):
        return ListNode([node(v) for v in value], HERE)
    return Leaf(value, HERE, HERE)  # type: ignore[arg-type]


KEYS = st.sampled_from(["p", "q", "r"])
TREES = st.dictionaries(
    KEYS,
    st.recursive(SCALARS | st.lists(SCALARS, max_size=2), lambda inner: st.dictionaries(KEYS, inner, max_size=3)),
    max_size=3,
)


@given(TREES)
def test_nothing_over_a_tree_and_a_tree_over_itself_change_nothing(a: dict[str, object]) -> None:
    assert plain(merge(node(a), node({}))) == a
    assert plain(merge(node({}), node(a))) == a
    assert plain(merge(node(a), node(a))) == a


@given(TREES, TREES)
def test_what_a_layer_says_holds(a: dict[str, object], b: dict[str, object]) -> None:
    merged = merge(node(a), node(b))
    assert plain(merge(merged, node(b))) == plain(merged)
    assert isinstance(merged, MapNode)
    for key, value in b.items():
        if not isinstance(value, dict):
            assert plain(merged.items[key]) == value
    assert set(merged.items) == {*a, *b}


def test_layers_are_files_of_their_own(specs: SpecFolder) -> None:
    base = Path(specs.write(NET, "base.yaml"))
    base.write_text(base.read_text().replace("sharpline: 1\n", ""))
    assert specs.errors("extends: base.yaml") == ["base.yaml:1:1: sharpline: the version of the spec is missing"]
