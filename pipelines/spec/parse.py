"""YAML text to a located tree, from the parser's events.

Events instead of composed nodes keep three things in our hand: places of keys, bounded nesting and size
(aliases count as often as they are used, so that a "billion laughs" file is refused), and scalars by the
YAML 1.2 core schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from pipelines.spec.location import Location
from pipelines.spec.problems import Problems
from pipelines.spec.scalars import NotAScalar, resolve
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe
from pipelines.spec.yaml_errors import explain

MAX_DEPTH = 60
MAX_NODES = 200_000

_MERGE_KEY = "<<"
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


class _Stop(Exception):
    """The file cannot be read further; the problem has been noted."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come: `key` is the key that waits for its value."""

    node: ListNode | MapNode
    anchor: str | None
    size: int = 1
    key: str | None = None
    key_where: Location | None = None
    expects_key: bool = False


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """The tree of the one document in `text`, or None after noting in `problems` why there is none.

    An empty document is None too, with its problem.
    """
    try:
        return _Builder(text, file, problems).build()
    except yaml.MarkedYAMLError as error:
        explain(error, text, file, problems)
    except (yaml.YAMLError, ValueError) as error:
        problems.add(Location(file, 1, 1), "", f"not readable as YAML: {error}")
    except _Stop:
        pass
    return None


class _Builder:
    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self.text, self.file, self.problems = text, file, problems
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int] | None] = {}
        self.count = 0
        self.root: Node | None = None
        self.documents = 0

    def build(self) -> Node | None:
        for event in _events(self.text):
            self._take(event)
        if self.root is None:
            self.problems.add(
                Location(self.file, 1, 1), "", "the file is empty", expected="a spec, beginning with `sharpline: 1`"
            )
        return self.root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._begin(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._stop(event, "a second document begins here (`---`)", "one spec in a file")

    def _where(self, event: yaml.Event) -> Location:
        mark = event.start_mark
        assert mark is not None
        return Location(self.file, mark.line + 1, mark.column + 1)

    def _stop(self, event: yaml.Event, message: str, expected: str) -> None:
        self.problems.add(self._where(event), self._path(), message, expected=expected)
        raise _Stop

    def _path(self) -> str:
        return ".".join(frame.key for frame in self.stack if frame.key is not None)

    def _grow(self, event: yaml.Event, size: int) -> None:
        self.count += size
        if self.count > MAX_NODES:
            self._stop(
                event, f"more than {MAX_NODES:,} values", "a spec; repeated aliases count as often as they are used"
            )

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        where = self._where(event)
        self._grow(event, 1)
        quoted = bool(event.style)
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            self._refuse_tag(event, where)
        try:
            value = event.value if quoted or event.tag is not None else resolve(event.value)
        except NotAScalar as error:
            self.problems.add(where, self._path(), str(error), expected="a finite number")
            value = 0.0
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.expects_key:
            self._key(frame, value, event.value, where)
        else:
            self._place(Leaf(value, where, where), 1, event.anchor)

    def _refuse_tag(self, event: Any, where: Location) -> None:
        shown = event.tag.replace("tag:yaml.org,2002:", "!!")
        self.problems.add(where, self._path(), f"the tag {shown}", expected="no tags: a spec holds plain values")

    def _key(self, frame: _Open, value: object, text: str, where: Location) -> None:
        assert isinstance(frame.node, MapNode)
        frame.key, frame.key_where, frame.expects_key = text, where, False
        frame.size += 1
        path = self._path()
        if not isinstance(value, str):
            shown = describe(Leaf(value, where, where)) if isinstance(value, (bool, int, float)) else "null"
            self.problems.add(where, path, f"the key {shown} is not text", expected=f"text: write {text!r} in quotes")
        elif text == _MERGE_KEY:
            self.problems.add(
                where,
                path,
                "merge keys (`<<`) are not part of YAML 1.2",
                expected="the fields themselves, or `extends`",
            )
        elif text in frame.node.keys:
            first = frame.node.keys[text]
            self.problems.add(
                where, path, f"the key is here twice (first at line {first.line})", expected="each key once"
            )

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        where = self._where(event)
        self._grow(event, 1)
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} levels deep", "a flatter spec")
        if event.tag is not None:
            self._refuse_tag(event, where)
        if self.stack and self.stack[-1].expects_key:
            self._stop(event, "a list or mapping is used as a key", "a key that is text")
        is_map = isinstance(event, yaml.MappingStartEvent)
        node: ListNode | MapNode = MapNode({}, where) if is_map else ListNode([], where)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(node, event.anchor, expects_key=is_map))

    def _end(self) -> None:
        done = self.stack.pop()
        self._place(done.node, done.size, done.anchor)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            self._stop(
                event, f"no anchor `&{event.anchor}` comes before this alias", "quotes around text that begins with *"
            )
        if self.stack and self.stack[-1].expects_key:
            self._stop(event, "an alias is used as a key", "a key that is text")
        found = self.anchors[event.anchor]
        if found is None:
            self._stop(
                event, f"the alias `*{event.anchor}` stands inside of what it repeats", "an alias of something else"
            )
            raise AssertionError
        node, size = found
        self._grow(event, size)
        self._place(node, size, None)

    def _place(self, node: Node, size: int, anchor: str | None) -> None:
        """Put a finished value where it belongs: the root, a list, or under the waiting key."""
        if anchor is not None:
            self.anchors[anchor] = (node, size)
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        frame.size += size
        if isinstance(frame.node, ListNode):
            frame.node.items.append(node)
            return
        assert frame.key is not None
        assert frame.key_where is not None
        if frame.key != _MERGE_KEY:
            frame.node.items.setdefault(frame.key, node)
            frame.node.keys.setdefault(frame.key, frame.key_where)
        frame.key, frame.expects_key = None, True


def _events(text: str) -> Iterator[Any]:
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()
