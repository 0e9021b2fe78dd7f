"""Specs for tests: written to a folder as text, loaded as a run would load them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.graph import Graph, build_graph
from pipelines.spec.load import load_spec
from pipelines.spec.model import Spec
from pipelines.spec.problems import SpecErrors

TOY = "tests.support.toy_stages"


def spec_text(body: str) -> str:
    """`body` below the two lines that every spec has; ``TOY:`` stands for the module of the toy stages."""
    return "sharpline: 1\nname: toy\n" + textwrap.dedent(body).lstrip("\n").replace("TOY:", f"{TOY}:")


@dataclass
class SpecFolder:
    """A folder in which specs are written and loaded."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def write(self, body: str, name: str = "spec.yaml") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(spec_text(body))
        return file

    def load(self, body: str, *overrides: str) -> Spec:
        return load_spec(self.write(body), overrides, self.env)

    def graph(self, body: str, *overrides: str) -> Graph:
        return build_graph(self.load(body, *overrides))

    def errors(self, body: str, *overrides: str) -> Sequence[str]:
        """The first lines of all problems, places without the folder."""
        with pytest.raises(SpecErrors) as caught:
            self.graph(body, *overrides)
        return [str(problem).partition("\n")[0].replace(f"{self.path}/", "") for problem in caught.value.problems]
