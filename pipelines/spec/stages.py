"""``stages:`` — every stage and every cell of it, resolved and typed as far as it is right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pydantic

from pipelines.canonical import JsonObject
from pipelines.registry import UnknownStage, load_stage
from pipelines.spec.faults import stage_fault
from pipelines.spec.inputs import Cells, read_inputs
from pipelines.spec.interpolate import Scope, Unresolved, interpolate, interpolate_tree
from pipelines.spec.location import Location
from pipelines.spec.locations import resolve
from pipelines.spec.matrix import Cell, expand
from pipelines.spec.merge import without_nulls
from pipelines.spec.model import InputRef, StageSpec
from pipelines.spec.problems import Problems, nearest
from pipelines.spec.roles import has_locations, is_location
from pipelines.spec.shape import DEFAULT_RETRIES, STAGE_FIELDS, STAGE_NAME, check_fields, mapping, text
from pipelines.spec.tree import Leaf, ListNode, MapNode, Node, describe, recordable_map
from pipelines.spec.validate import validate
from pipelines.stage import Config, Resources, Stage

_PARTS = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_MOST_RETRIES = 100


@dataclass(slots=True)
class Draft:
    """A stage (cell) as far as it could be read; what is None was wrong, and its problem has been noted."""

    cell: Cell
    base: str
    place: Location
    tree: MapNode
    uses: str = ""
    stage: type[Stage] | None = None
    config: Config | None = None
    with_: JsonObject = field(default_factory=dict)
    inputs: dict[str, tuple[InputRef, ...]] = field(default_factory=dict)
    resources: Resources | None = None
    retries: int = DEFAULT_RETRIES
    notes: str = ""

    @property
    def name(self) -> str:
        return self.cell.name

    def finished(self) -> StageSpec | None:
        """The stage, when nothing of it is wrong."""
        if self.stage is None or self.config is None or self.resources is None:
            return None
        axes = {axis: leaf.value for axis, leaf in self.cell.axes.items() if leaf.value is not None}
        return StageSpec(
            self.name, self.base, axes, self.uses, self.stage, self.config, self.with_, self.inputs,
            self.resources, self.retries, self.notes, self.tree, self.place,
        )  # fmt: skip


def read_stages(node: MapNode, scope: Scope, env: Mapping[str, str]) -> dict[str, Draft]:
    """All cells of all stages, by name, in written order."""
    written = {name: (stage, node.key(name)) for name, stage in node.items.items()}
    stages: dict[str, tuple[MapNode, Location]] = {}
    cells: dict[str, Sequence[Cell]] = {}
    for name, (stage, place) in written.items():
        cells[name] = ()
        if (
            _is_good_name(name, place, scope.problems)
            and (section := _stage_map(name, stage, scope.problems)) is not None
        ):
            stages[name] = (section, place)
            cells[name] = expand(name, section.items.get("matrix"), scope)
    drafts: dict[str, Draft] = {}
    for name, (section, place) in stages.items():
        _check_stage(name, section, place, list(written), scope.problems)
        for cell in cells[name]:
            drafts[cell.name] = _Reader(name, cell, section, place, scope, env, cells).read()
    return drafts


def _is_good_name(name: str, place: Location, problems: Problems) -> bool:
    if STAGE_NAME.fullmatch(name):
        return True
    fixed = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    problems.add(
        place, f"stages.{name}", f"{name!r} is no name of a stage", expected="lower-case letters, digits, - and _",
        nearest=fixed or None,
    )  # fmt: skip
    return False


def _stage_map(name: str, node: Node, problems: Problems) -> MapNode | None:
    if isinstance(node, MapNode):
        return without_nulls(node)
    problems.add(
        node.where, f"stages.{name}", f"the stage is {describe(node)}", expected="`uses:` and its other fields"
    )
    return None


def _check_stage(name: str, node: MapNode, place: Location, names: Sequence[str], problems: Problems) -> None:
    path = f"stages.{name}"
    check_fields(node, path, STAGE_FIELDS, problems)
    if "uses" not in node.items:
        others = [other for other in names if other != name]
        problems.add(
            place,
            f"{path}.uses",
            "a required field is missing",
            expected="uses: which stage this is",
            nearest=nearest(name, others),
        )


class _Reader:
    """Reads one cell of one stage."""

    def __init__(
        self, base: str, cell: Cell, node: MapNode, place: Location, scope: Scope, env: Mapping[str, str], cells: Cells
    ) -> None:
        self.node, self.cells, self.env = node, cells, env
        self.path = f"stages.{base}"
        self.problems = scope.problems
        self.scope = replace(scope, matrix=cell.axes) if cell.axes else scope
        self.draft = Draft(cell, base, place, node)

    def read(self) -> Draft:
        draft = self.draft
        tree = dict(self.node.items)
        self._uses()
        for name, use in (("with", self._with), ("inputs", self._inputs), ("resources", self._resources)):
            if name not in self.node.items:
                use(MapNode({}, draft.place), draft.place)
                continue
            section = mapping(self.node, name, f"{self.path}.{name}", self.problems, keep_nulls=name == "with")
            if section is not None and (done := use(section, self.node.key(name))) is not None:
                tree[name] = done
        self._retries()
        draft.notes = text(self.node, "notes", f"{self.path}.notes", self.problems) or ""
        draft.tree = MapNode(tree, self.node.where, self.node.keys)
        return draft

    def _uses(self) -> None:
        node, path = self.node.items.get("uses"), f"{self.path}.uses"
        if node is None:
            return
        try:
            found = interpolate(node, path, self.scope) if isinstance(node, Leaf) else node
        except Unresolved:
            return
        if not isinstance(found, Leaf) or not isinstance(found.value, str):
            self.problems.add(node.where, path, f"got {describe(found)}", expected="the name of a stage")
            return
        self.draft.uses = found.value
        try:
            self.draft.stage = load_stage(found.value)
        except UnknownStage as error:
            self.problems.add(node.where, path, str(error).split("; did you mean")[0], nearest=error.nearest)

    def _with(self, section: MapNode, place: Location) -> Node | None:
        """Insert, make locations absolute, validate."""
        stage, path = self.draft.stage, f"{self.path}.with"
        location = None if stage is None else lambda field: is_location(stage.Config, _parts(field, path), "./")
        holes: set[str] = set()
        scope = replace(self.scope, env=self.env, is_location=location, holes=holes)
        done = interpolate_tree(section, path, scope)
        assert isinstance(done, MapNode)
        if stage is None:
            return done
        if has_locations(stage.Config):
            located = _resolve_locations(done, stage.Config, ())
            assert isinstance(located, MapNode)
            done = located
        self.draft.with_ = recordable_map(done)
        config = validate(stage.Config, done, place, path, self.problems, holes)
        self.draft.config = None if holes else config
        return done

    def _inputs(self, section: MapNode, place: Location) -> Node | None:
        path = f"{self.path}.inputs"
        try:
            done = interpolate_tree(section, path, self.scope)
        except Unresolved:
            self.draft.inputs = dict.fromkeys(section.items, ())
            return None
        assert isinstance(done, MapNode)
        stage = self.draft.stage
        many = None if stage is None else {name: slot.many for name, slot in stage.inputs.items()}
        self.draft.inputs = read_inputs(done, path, many, self.cells, self.problems)
        return done

    def _resources(self, section: MapNode, place: Location) -> Node | None:
        path = f"{self.path}.resources"
        try:
            done = interpolate_tree(section, path, self.scope)
        except Unresolved:
            return None
        assert isinstance(done, MapNode)
        asked = validate(Resources, done, place, path, self.problems)
        if asked is not None:
            self.draft.resources = self._with_defaults(asked)
            self._refuse_ranks(done)
        return done

    def _refuse_ranks(self, section: MapNode) -> None:
        stage, resources = self.draft.stage, self.draft.resources
        if stage is None or resources is None or (resources.ranks or 1) == 1 or stage.gang:
            return
        node = section.items.get("ranks")
        message = f"{self.draft.uses} runs as one process; only a gang stage can have {resources.ranks} ranks"
        place = self.draft.place if node is None else node.where
        self.problems.add(place, f"{self.path}.resources.ranks", message)

    def _with_defaults(self, asked: Resources) -> Resources | None:
        stage, config = self.draft.stage, self.draft.config
        if stage is None or config is None:
            return asked
        try:
            default = stage.resources(config)
        except Exception as error:  # the stage author's code
            self.problems.add(self.draft.place, f"{self.path}.resources", stage_fault(error, "resources"))
            return None
        return default.model_copy(update={name: getattr(asked, name) for name in asked.model_fields_set})

    def _retries(self) -> None:
        node, path = self.node.items.get("retries"), f"{self.path}.retries"
        if node is None:
            return
        try:
            found = interpolate(node, path, self.scope) if isinstance(node, Leaf) else node
        except Unresolved:
            return
        value = found.value if isinstance(found, Leaf) else None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_RETRIES:
            expected = f"a whole number from 0 to {_MOST_RETRIES}"
            self.problems.add(node.where, path, f"got {describe(found)}", expected=expected)
            return
        self.draft.retries = value


def _parts(path: str, prefix: str) -> tuple[str | int, ...]:
    return tuple(name or int(index) for name, index in _PARTS.findall(path[len(prefix) :]))


def _resolve_locations(node: Node, config: type[pydantic.BaseModel], path: tuple[str | int, ...]) -> Node:
    """`node` with every location made absolute."""
    if isinstance(node, MapNode):
        items = {key: _resolve_locations(item, config, (*path, key)) for key, item in node.items.items()}
        return MapNode(items, node.where, node.keys)
    if isinstance(node, ListNode):
        return ListNode([_resolve_locations(item, config, (*path, i)) for i, item in enumerate(node.items)], node.where)
    if not isinstance(node.value, str) or not is_location(config, path, node.value):
        return node
    shown = node.shown if node.shown is None or node.shown.startswith("$(") else resolve(node.shown, node.origin)
    return Leaf(resolve(node.value, node.origin), node.where, node.origin, shown)
