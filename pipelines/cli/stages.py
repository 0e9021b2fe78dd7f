"""``sharpline stages``: what a spec can use."""

from __future__ import annotations

import json as jsonlib
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.spec.describe import FieldDoc, SlotDoc, StageDoc

_ROLES = {
    "identity": "",
    "execution": "execution: never part of a key",
    "extendable": "extendable: raising it continues the finished work",
    "source": "source: a location; what it lists is the identity",
    "name-or-file": "a name or a file: the values behind it are the identity",
}
_WIDTH = 100


def command(
    name: Annotated[
        str | None, typer.Argument(help="A stage's name, or package.module:Class in this folder.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """List the stages that a spec can use; with NAME, the config, inputs and outputs of one."""
    from pipelines.registry import add_code, known_stages, load_stage
    from pipelines.spec.describe import describe_stage

    if name is not None:
        add_code([Path.cwd() / name.partition(":")[0].partition(".")[0]])
        doc = describe_stage(load_stage(name), name)
        typer.echo(jsonlib.dumps(doc.to_json(), indent=2, ensure_ascii=False) if json else "\n".join(_page(doc)))
        return
    docs = [describe_stage(load_stage(known), known) for known in known_stages()]
    if json:
        typer.echo(jsonlib.dumps([doc.to_json() for doc in docs], indent=2, ensure_ascii=False))
        return
    width = max((len(doc.name) for doc in docs), default=0)
    for doc in docs:
        typer.echo(f"{doc.name:<{width}}  {doc.summary}")
    typer.echo("\n`sharpline stages NAME` shows one of them; your own are package.module:Class.")


def _page(doc: StageDoc) -> Iterator[str]:
    yield f"{doc.name}   (version {doc.version}, {doc.target})"
    yield ""
    yield doc.doc
    yield ""
    yield "with:" if doc.fields else "with: no fields"
    yield from _fields(doc.fields)
    yield ""
    yield "inputs:" if doc.inputs else "inputs: none"
    yield from _slots(doc.inputs)
    yield ""
    if doc.outputs is None:
        yield "outputs: depend on the config"
    else:
        yield "outputs:"
        yield from _slots(doc.outputs)
    yield ""
    yield _work(doc)


def _work(doc: StageDoc) -> str:
    how = "in partitions, each cached by itself" if doc.partitioned else "as one unit"
    code = "its code is part of the key" if doc.code_policy == "key" else "a change of its code is shown, not rebuilt"
    return f"runs {how}; {code}"


def _fields(fields: Sequence[FieldDoc]) -> Iterator[str]:
    for field in fields:
        default = "required" if field.default is None else f"default {field.default}"
        yield f"  {field.name}: {field.type}; {default}"
        note = "; ".join(part for part in (field.doc.rstrip("."), _ROLES[field.role]) if part)
        if note:
            yield textwrap.fill(note, _WIDTH, initial_indent="      ", subsequent_indent="      ")


def _slots(slots: Sequence[SlotDoc]) -> Iterator[str]:
    for slot in slots:
        marks = [slot.kind, *(["many"] if slot.many else []), *(["optional"] if slot.optional else [])]
        facets = " ".join(f"{name}={value}" for name, value in slot.facets.items())
        yield f"  {slot.name}: {', '.join(marks)}" + (f" [{facets}]" if facets else "")
        if slot.doc:
            yield textwrap.fill(slot.doc, _WIDTH, initial_indent="      ", subsequent_indent="      ")
