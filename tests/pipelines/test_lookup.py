"""Finished artifacts by the names that a spec gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.lookup import find_built, find_stage, open_artifact, open_inputs
from tests.support.workspace import Workspace, chain

CELLS = """
    source: {uses: "toy:Texts", with: {source: ./texts}}
    upper:
      uses: toy:Upper
      inputs: {texts: source}
      matrix: {ending: ["0.5", "1.5"]}
      with: {suffix: $(matrix.ending)}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    work = chain(tmp_path_factory.mktemp("chain"))
    assert work.run().status == "ok"
    return work


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    work = Workspace(tmp_path_factory.mktemp("cells"))
    work.texts(a="one")
    work.spec(CELLS)
    assert work.run().status == "ok"
    return work


def test_a_stage_opens_its_first_output_and_a_named_one_the_same(work: Workspace) -> None:
    found = open_artifact(work.file, "upper")
    assert found.digest == (work.plan().stages["upper"].outputs or {})["texts"]
    assert found.digest == open_artifact(str(work.file), "upper.texts").digest
    assert found.open("a.txt").read_text() == "ONE"


def test_it_is_the_result_of_the_spec_as_it_is_now(work: Workspace) -> None:
    with pytest.raises(UsageError, match=r"upper is not built \(.*\); build it with `sharpline run .*-s \+upper --set"):
        open_artifact(work.file, "upper", ["stages.upper.with.suffix=x"])


def test_inputs_are_those_that_it_was_made_of(work: Workspace) -> None:
    (found,) = open_inputs(work.file, "joined")["texts"]
    assert (found.label, found.digest) == ("upper", open_artifact(work.file, "upper").digest)


def test_the_settings_are_those_of_the_key(work: Workspace) -> None:
    built = find_built(work.file, "upper")
    assert (built.spec, built.stage, built.slot) == ("test", "upper", "texts")
    assert built.config["suffix"] == ""
    assert built.key == work.plan().stages["upper"].to_json()["key"]


def test_cells_may_hold_dots(cells: Workspace) -> None:
    half = open_artifact(cells.file, "upper@ending=0.5")
    assert half.open("a.txt").read_text() == "ONE0.5"
    assert open_artifact(cells.file, "upper@ending=0.5.texts").digest == half.digest
    assert open_artifact(cells.file, "upper@ending=1.5.texts").digest != half.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("upper", "'upper' means 2 stages; name one of them: upper@ending=0.5, upper@ending=1.5"),
        ("uper", "did you mean 'upper'"),
        ("source.tests", "source has no output 'tests'; its outputs are: texts"),
        ("upper@ending=9", "has no such cell"),
        ("source[3]", "expected a whole stage"),
    ],
)
def test_other_names_are_explained(cells: Workspace, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        open_artifact(cells.file, text)
    assert said in str(error.value)


def test_nothing_is_created(tmp_path: Path) -> None:
    work = chain(tmp_path)
    with pytest.raises(Exception, match="no store at"):
        open_artifact(work.file, "upper")
    assert not (tmp_path / ".sharpline").exists()


def test_a_stage_is_found_before_it_is_built_but_not_before_its_inputs(work: Workspace) -> None:
    built = find_stage(work.file, "joined")
    assert (built.name, built.stage.name) == ("joined", work.plan().stages["joined"].uses)
    assert {slot: [one.digest for one in many] for slot, many in built.inputs.items()} == {
        slot: [one.digest for one in many] for slot, many in open_inputs(work.file, "joined").items()
    }
    waiting = work.file.with_name("waiting.yaml")
    waiting.write_text(
        work.file.read_text().replace("inputs: {texts: source}", "inputs: {texts: source}\n    with: {suffix: new}")
    )
    assert find_stage(waiting, "upper").config.suffix == "new"
    with pytest.raises(UsageError, match=r"upper is not built .*sharpline run .*waiting.yaml -s \+upper"):
        find_stage(waiting, "joined")
