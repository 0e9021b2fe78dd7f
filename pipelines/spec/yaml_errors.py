"""YAML's own errors in plain words, at the place that a person has to look at."""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

from pipelines.spec.location import Location
from pipelines.spec.problems import Problems


class _Rule(NamedTuple):
    """`problem` and `context` are parts of libyaml's words. `at_context`: the beginning is the place to look at."""

    problem: str
    context: str
    message: str
    expected: str
    at_context: bool = False


_RULES = (
    _Rule("unexpected end of stream", "quoted scalar", "a quote that is never closed", "the closing quote", True),
    _Rule("document indicator", "quoted scalar", "a quote that is never closed", "the closing quote", True),
    _Rule("',' or ']'", "flow sequence", "a list `[` that is not closed here", "a comma or `]`"),
    _Rule("',' or '}'", "flow mapping", "a mapping `{` that is not closed here", "a comma or `}`"),
    _Rule("could not find expected ':'", "", "a line that is neither `key: value` nor a list item", "a colon", True),
    _Rule(
        "mapping values are not allowed",
        "",
        "a colon that cannot stand here",
        "`key: value` at the indentation of its neighbours; text that holds a colon in quotes",
    ),
    _Rule(
        "block sequence entries",
        "",
        "a list item `-` that cannot stand here",
        "list items on lines of their own, indented alike",
    ),
    _Rule(
        "did not find expected key",
        "block mapping",
        "this does not fit the lines above",
        "`key: value` at the indentation of its neighbours",
    ),
    _Rule("expected '-' indicator", "", "this does not fit the list above", "list items `- …`, indented alike"),
    _Rule(
        "alphabetic or numeric character",
        "alias",
        "`*` begins an alias",
        "quotes around text that begins with `*`, such as a file pattern",
        True,
    ),
    _Rule(
        "alphabetic or numeric character",
        "anchor",
        "`&` begins an anchor",
        "quotes around text that begins with `&`",
        True,
    ),
    _Rule(
        "unknown escape character",
        "",
        "a backslash that means nothing in double quotes",
        "single quotes, in which a backslash is itself",
    ),
    _Rule(
        "hexdecimal number",
        "",
        "a backslash escape without its digits",
        "single quotes, in which a backslash is itself",
    ),
    _Rule(
        "comment or line break", "block scalar", "text right behind `|` or `>`", "the text on the lines below, indented"
    ),
    _Rule("undefined tag handle", "", "`!` begins a tag", "quotes around text that begins with `!`", True),
    _Rule("", "tag", "`!` begins a tag", "quotes around text that begins with `!`", True),
    _Rule("", "directive", "`%` begins a YAML directive", "no directives: begin with `sharpline: 1`", True),
    _Rule("<document start>", "", "something follows the end of the document", "one spec in a file"),
    _Rule(
        "expected node content",
        "",
        "a value is missing here",
        "a value; text that begins with a comma or bracket in quotes",
    ),
)

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_TAB_IN_INDENT = re.compile(r" *\t")


def explain(error: yaml.MarkedYAMLError, text: str, file: str, problems: Problems) -> None:
    """Note `error` in `problems`, in words of this module, at its place."""
    lines = _LINE_BREAK.split(text)
    where = _place(error.problem_mark or error.context_mark, lines, file)
    source = lines[where.line - 1]
    problem, context = error.problem or "", error.context or ""
    if (tab := _TAB_IN_INDENT.match(source)) and where.column <= len(source) - len(source.lstrip()) + 1:
        where = Location(file, where.line, tab.end())
        problems.add(where, "", "a tab in the indentation", expected="spaces: YAML does not allow tabs here")
        return
    if "cannot start any token" in problem:
        char = source[where.column - 1 : where.column]
        message = "a tab before the value" if char == "\t" else f"plain text cannot begin with {char!r}"
        problems.add(where, "", message, expected="spaces" if char == "\t" else "quotes around the text")
        return
    if "${" in source and "flow" in context:
        column = source.index("${") + 1
        where = Location(file, where.line, column)
        problems.add(where, "", "`${…}` is not how a value is inserted", expected="$(params.NAME): with parentheses")
        return
    if "mapping values are not allowed" in problem and (bare := _bare_line_above(lines, where)):
        problems.add(bare, "", "a line that is neither `key: value` nor a list item", expected="a colon")
        return
    rule = next((rule for rule in _RULES if rule.problem in problem and rule.context in context), None)
    if rule is None:
        problems.add(where, "", f"YAML: {problem} {context}".rstrip(), expected="valid YAML 1.2")
        return
    began = _place(error.context_mark, lines, file) if error.context_mark else where
    message = rule.message
    if not rule.at_context and "flow" in rule.context and began.line != where.line:
        message += f" (opened at line {began.line})"
    problems.add(began if rule.at_context else where, "", message, expected=rule.expected)


def _place(mark: yaml.Mark | None, lines: list[str], file: str) -> Location:
    """The place of `mark`, moved to the end of the text when the parser points beyond it."""
    if mark is None:
        return Location(file, 1, 1)
    line, column = mark.line, mark.column
    while line > 0 and (line >= len(lines) or (column == 0 and not lines[line])):
        line -= 1
        column = len(lines[line]) if line < len(lines) else 0
    return Location(file, line + 1, column + 1)


def _bare_line_above(lines: list[str], where: Location) -> Location | None:
    """The line right above `where`, if it is a lone word at the same indentation: a key that lacks its colon."""
    above = lines[where.line - 2] if where.line > 1 else ""
    here = lines[where.line - 1]
    indent = len(above) - len(above.lstrip())
    if not re.fullmatch(r"\s*[\w.-]+\s*", above) or indent != len(here) - len(here.lstrip()):
        return None
    return Location(where.file, where.line - 1, indent + 1)
