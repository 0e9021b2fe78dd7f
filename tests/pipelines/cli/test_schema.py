"""``sharpline schema``: an editor accepts what the loader accepts, and flags what it can know to be wrong."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.cli.main import main
from pipelines.spec.schema import spec_schema
from tests.support import toy_stages

STAGES = [toy_stages.Texts, toy_stages.Upper, toy_stages.Trainer, toy_stages.Noop, toy_stages.Score]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema: Any = spec_schema(STAGES)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def document(stages: str, head: str = "") -> Any:
    text = f"sharpline: 1\nname: toy\n{head}\nstages:\n{stages}".replace("TOY:", f"{toy_stages.MODULE}:")
    return yaml.safe_load(text)


GOOD = [
    "  a: {uses: 'TOY:Texts', with: {source: ./x, scale: 2}, retries: 0, notes: why}",
    "  a: {uses: 'TOY:Texts', with: {source: ./x, scale: $(params.scale), encoding: $(params.encoding)}}",
    "  a: {uses: 'TOY:Trainer', matrix: {seed: [1, 2]}, with: {seed: $(matrix.seed), clip: null, optimizer: {}}}",
    "  a: {uses: 'TOY:Score', inputs: {models: [b, c@x=1], texts: d}}",
    "  a: {uses: 'TOY:Score', inputs: {models: b, texts: d}}",
    "  a: {uses: 'my_package.module:Stage', with: {anything: [1]}}",
    "  a: {uses: 'TOY:Noop', resources: {gpus: $(params.gpus), cpus: 0.5}}",
]
BAD = [
    "  a: {uses: 'TOY:Texts', with: {scale: 2}}",
    "  a: {uses: 'TOY:Texts', with: {source: ./x, scale: two}}",
    "  a: {uses: 'TOY:Texts', with: {source: ./x, scael: 2}}",
    "  a: {uses: 'TOY:Upper', inputs: {text: b}}",
    "  a: {uses: 'TOY:Upper', inputs: {texts: [b]}}",
    "  a: {uses: nothing.known}",
    "  a: {with: {source: ./x}}",
    "  A: {uses: 'TOY:Noop'}",
    "  a: {uses: 'TOY:Noop', resources: {gpu: 1}}",
    "  a: {uses: 'TOY:Trainer', with: {optimizer: {rate: 2.0}}}",
]


@pytest.mark.parametrize("stages", GOOD)
def test_good_specs_are_accepted(validator: jsonschema.Draft202012Validator, stages: str) -> None:
    validator.validate(document(stages))


@pytest.mark.parametrize("stages", BAD)
def test_mistakes_are_flagged(validator: jsonschema.Draft202012Validator, stages: str) -> None:
    assert not validator.is_valid(document(stages))


def test_a_layer_may_be_partial(validator: jsonschema.Draft202012Validator) -> None:
    layer = document(
        "  a: {with: {scale: 2}}\n  b: null\n  c: {uses: 'TOY:Texts', with: {scale: 2}}", "extends: base.yaml"
    )
    validator.validate(layer)
    assert not validator.is_valid(document("  c: {uses: 'TOY:Texts', with: {scael: 2}}", "extends: base.yaml"))


def test_fields_carry_their_docs(validator: jsonschema.Draft202012Validator) -> None:
    text = json.dumps(validator.schema)
    assert "Stated as a facet of the output." in text
    assert "Steps between checkpoints" in text


def test_the_command_prints_the_schema_of_installed_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "degrade.pairs" in json.dumps(schema)
