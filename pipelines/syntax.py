"""What a Python file means, as one digest, and what it imports.

The digest is our own walk over the syntax tree, because ``ast.dump`` and bytecode change between Python
versions and a key must not. Left out is what cannot change a result: positions, comments, quotes, layout,
docstrings and other bare strings, `pass`, annotations of functions and of plain variables, and what stands
under ``if TYPE_CHECKING:``. Annotations in class bodies stay: they are what pydantic and dataclasses read.

Two consequences for authors: code that reads its own *function* annotations or docstrings at run time
(`singledispatch`, `validate_call`) is seen by its bodies only, and reordering statements counts as a change.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_IGNORED_FIELDS: Final = frozenset({"ctx", "kind", "type_comment", "type_ignores", "returns"})
_MODULE_TEXT: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:\w+)?|([A-Za-z_]\w*\.)+")


@dataclass(frozen=True, slots=True)
class Import:
    """One way in which a file reaches another module.

    `level` counts the leading dots and `module` is the rest; `names` are what ``from`` takes (modules or not).
    `guess` marks a mere string that reads like a module: ``"stages.models.unet:UNet"`` in a registry, or with a
    final dot (``f"stages.models.{family}"``) every module of a package.
    """

    level: int
    module: str
    names: tuple[str, ...] = ()
    guess: bool = False


@dataclass(frozen=True, slots=True)
class Syntax:
    """The digest (64 hex characters) of a file's meaning, and its imports at any depth."""

    digest: str
    imports: tuple[Import, ...]


def read_syntax(source: bytes, filename: str = "<source>") -> Syntax:
    """Digest the meaning of a Python file. Raises SyntaxError, as `ast.parse` does."""
    writer = _Writer()
    writer.node(ast.parse(source, filename))
    text = "".join(writer.parts).encode("utf-8", "surrogatepass")
    return Syntax(hashlib.sha256(text).hexdigest(), tuple(dict.fromkeys(writer.imports)))


class _Writer:
    """Writes ``(Class field:value ...)`` for every node, lists in brackets, text with its length."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.imports: list[Import] = []
        self._in_class = False

    def node(self, node: ast.AST) -> None:
        special = _SPECIAL.get(type(node))
        if special is None:
            self.fields(node)
        else:
            special(self, node)

    def fields(self, node: ast.AST) -> None:
        """The plain form of a node: every field that holds something."""
        cls = type(node)
        self.parts.append(f"({cls.__name__}")
        for name in cls._fields:
            if name not in _IGNORED_FIELDS:
                value = getattr(node, name, None)
                if value is not None and value != []:
                    self.parts.append(f" {name}:")
                    self.value(value)
        self.parts.append(")")

    def value(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, list):
            self.parts.append("[")
            for item in _statements(value) if value and isinstance(value[0], ast.stmt) else value:
                self.value(item)
            self.parts.append("]")
        else:
            self.parts.append(_literal(value))

    def constant(self, node: ast.Constant) -> None:
        self.parts.append(f"(Constant {_literal(node.value)})")
        if isinstance(node.value, str) and _MODULE_TEXT.fullmatch(node.value):
            self.imports.append(Import(0, node.value.partition(":")[0], guess=True))

    def scope(self, node: ast.AST) -> None:
        """A class or function: annotated assignments mean something in the one and nothing in the other."""
        outer, self._in_class = self._in_class, isinstance(node, ast.ClassDef)
        self.fields(node)
        self._in_class = outer

    def annotated(self, node: ast.AnnAssign) -> None:
        if self._in_class:
            self.fields(node)
        elif node.value is None:
            self.parts.append("(Declare ")
            self.node(node.target)
            self.parts.append(")")
        else:
            self.fields(ast.Assign(targets=[node.target], value=node.value))

    def argument(self, node: ast.arg) -> None:
        self.parts.append(f"(arg {_literal(node.arg)})")

    def joined(self, node: ast.JoinedStr) -> None:
        """An f-string with its literal pieces merged: Python versions cut them differently."""
        self.parts.append("(JoinedStr")
        for piece in _merged(node.values):
            self.node(piece)
        self.parts.append(")")

    def formatted(self, node: ast.FormattedValue) -> None:
        empty = isinstance(node.format_spec, ast.JoinedStr) and not _merged(node.format_spec.values)
        self.fields(ast.FormattedValue(node.value, node.conversion, None if empty else node.format_spec))

    def import_(self, node: ast.Import) -> None:
        self.imports += [Import(0, alias.name) for alias in node.names]
        self.fields(node)

    def import_from(self, node: ast.ImportFrom) -> None:
        names = tuple(alias.name for alias in node.names)
        self.imports.append(Import(node.level, node.module or "", names))
        self.fields(node)

    def call(self, node: ast.Call) -> None:
        """``import_module("name")`` imports too; the name may be relative or stand alone."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            text = node.args[0].value
            if isinstance(text, str):
                module = text.lstrip(".")
                self.imports.append(Import(len(text) - len(module), module))
        self.fields(node)


_SPECIAL: Final[dict[type[ast.AST], Callable[[_Writer, Any], None]]] = {
    ast.AnnAssign: _Writer.annotated,
    ast.AsyncFunctionDef: _Writer.scope,
    ast.Call: _Writer.call,
    ast.ClassDef: _Writer.scope,
    ast.Constant: _Writer.constant,
    ast.FormattedValue: _Writer.formatted,
    ast.FunctionDef: _Writer.scope,
    ast.Import: _Writer.import_,
    ast.ImportFrom: _Writer.import_from,
    ast.JoinedStr: _Writer.joined,
    ast.arg: _Writer.argument,
}


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a block that do something at run time."""
    kept: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            kept += _statements(statement.orelse)
        elif not isinstance(statement, ast.Pass) and not _is_bare_string(statement):
            kept.append(statement)
    return kept


def _is_bare_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _merged(pieces: Sequence[ast.expr]) -> list[ast.expr]:
    merged: list[ast.expr] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(piece.value))
        elif not (isinstance(piece, ast.Constant) and piece.value == ""):
            merged.append(piece)
    return merged


def _literal(value: object) -> str:
    """A leaf, typed and self-delimiting: 1, 1.0 and True differ, so do "1" and b"1"."""
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"i{value:x}"
    if isinstance(value, bytes):
        return f"b{value.hex()}"
    if isinstance(value, float):
        return f"f{value.hex()}"
    if isinstance(value, complex):
        return f"c{value.real.hex()},{value.imag.hex()}"
    return repr(value)  # None, True, False, Ellipsis
