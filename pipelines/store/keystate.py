"""What the records of a key log mean: a pure function from records to the state of the key.

A log is the records 0, 1, 2, ... without gaps, each created once and never rewritten. Rules, in record order:

* ``claim`` opens attempt n (its own number) for a holder and closes the attempt that was open, if any (takeover).
* ``commit`` counts only when it names the open attempt; it closes it and replaces the earlier commit, and the
  accepts of that. Any other commit is void.
* ``release`` counts only when it names the open attempt; it closes it.
* ``rebuild`` asks for another commit; it is answered by the commit of an attempt claimed *after* it. With ``heal``
  in it, bytes of the commit were lost: finished partitions whose bytes are there still count, and any later
  commit answers it, because a commit finds all of its bytes there. (Versions that do not know ``heal`` build all anew.)
* ``accept`` adds a code fingerprint that is held equivalent for the commit before it.

A sealed record of a kind unknown to this version is skipped: a kind that older versions must not skip raises the
schema. Times are for people and decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, Literal, TypeAlias, cast

from pipelines.canonical import Json, JsonObject
from pipelines.store.holder import Holder

RECORD_SCHEMA = 1
RecordKind: TypeAlias = Literal["claim", "commit", "release", "rebuild", "accept"]
_NEEDED: Final[Mapping[str, Mapping[str, type]]] = {
    "claim": {"holder": dict},
    "commit": {"attempt": int, "outputs": dict, "payload": dict, "meta": dict},
    "release": {"attempt": int},
    "rebuild": {"why": str},
    "accept": {"fingerprint": str},
}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ALLOWED: Final = {"schema", "kind", "at", "token", "seal", "over", "heal"}


@dataclass(frozen=True, slots=True)
class Record:
    """Record `n` of a log. `at` is Unix seconds; `body` the fields of its kind."""

    n: int
    kind: str
    at: float
    body: JsonObject

    @classmethod
    def from_json(cls, n: int, data: Mapping[str, Json]) -> Record:
        body = {name: value for name, value in data.items() if name not in ("schema", "kind", "at", "seal")}
        return cls(n, cast(str, data["kind"]), cast(float, data["at"]), body)


@dataclass(frozen=True, slots=True)
class Commit:
    """A finished build: record `n`, of the attempt claimed in record `attempt`.

    `outputs` maps slots to artifact digests, `payload` is what the key is the digest of, `meta` holds facts
    about the build (advisory code fingerprint, ``reproducible``).
    """

    n: int
    attempt: int
    outputs: Mapping[str, str]
    payload: JsonObject
    at: float
    meta: JsonObject


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key as its log tells it.

    `next_n` is the number of the next record. `holder` and `attempt` are those of the open claim, or None.
    `rebuild` says that another commit was asked for: a build from nothing in record `rebuild_n`, healing in record
    `heal_n` (None when it was not). `accepted` are the code fingerprints accepted for `committed`.
    """

    next_n: int = 0
    holder: Holder | None = None
    attempt: int | None = None
    committed: Commit | None = None
    rebuild_n: int | None = None
    heal_n: int | None = None
    accepted: tuple[str, ...] = ()
    records: tuple[Record, ...] = field(default=(), repr=False)

    @property
    def rebuild(self) -> bool:
        return self.rebuild_n is not None or self.heal_n is not None

    @property
    def healing(self) -> bool:
        """Whether lost bytes are to be restored, and nothing more was asked for."""
        return self.heal_n is not None and self.rebuild_n is None

    @property
    def line(self) -> int | None:
        """The record that asked for the build under way, if one did: what came before it is not gone on with."""
        return self.rebuild_n if self.rebuild_n is not None else self.heal_n

    @property
    def why(self) -> str:
        """Why another commit was asked for, in words; empty when it was not."""
        return "" if self.line is None else str(self.records[self.line].body.get("why", ""))

    @property
    def done(self) -> bool:
        """Committed, and no other build was asked for."""
        return self.committed is not None and not self.rebuild


def refusal(data: Mapping[str, Json], *, sealed: bool) -> str:
    """Why parsed `data` can be no record, or "".

    What is sealed may be of a kind, or have fields, of a later version. Records without a seal are of earlier
    versions, whose kinds and fields are known.
    """
    kind, at = data.get("kind"), data.get("at")
    needed = _NEEDED.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or type(at) not in (int, float) or (needed is None and not sealed):
        return f"it has no seal; expected a known kind and a time, got {kind!r} and {at!r}"
    for name, type_ in (needed or {}).items():
        if not isinstance(data.get(name), type_):
            return f"a {kind} has no {name}" if name not in data else f"{name} of a {kind} is {data[name]!r}"
    if kind == "claim" and (lacks := {f.name for f in fields(Holder)} - set(cast(JsonObject, data["holder"]))):
        return f"its holder has no {', '.join(sorted(lacks))}"
    for slot, digest in cast(JsonObject, data["outputs"]).items() if kind == "commit" and not sealed else ():
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            return f"output {slot!r} is {digest!r}, which is no digest"
    unknown = set() if sealed else set(data) - _ALLOWED - set(needed or ())
    return f"it has no seal and unknown fields: {', '.join(sorted(unknown))}" if unknown else ""


def replay(records: Sequence[Record]) -> KeyState:
    """The state after `records`, which are all of a log up to some number."""
    state = KeyState()
    for record in records:
        state = _after(state, record)
    return replace(state, next_n=len(records), records=tuple(records))


def _after(state: KeyState, record: Record) -> KeyState:
    body = record.body
    if record.kind == "claim":
        holder = Holder.from_json(cast(JsonObject, body["holder"]))
        return replace(state, holder=holder, attempt=record.n)
    if record.kind == "commit" and body["attempt"] == state.attempt:
        return _committed(state, record)
    if record.kind == "release" and body["attempt"] == state.attempt:
        return replace(state, holder=None, attempt=None)
    if record.kind == "rebuild":
        return replace(state, heal_n=record.n) if body.get("heal") else replace(state, rebuild_n=record.n)
    if record.kind == "accept":
        fingerprint = cast(str, body["fingerprint"])
        if fingerprint not in state.accepted:
            return replace(state, accepted=(*state.accepted, fingerprint))
    return state


def _committed(state: KeyState, record: Record) -> KeyState:
    assert state.attempt is not None
    commit = Commit(
        n=record.n,
        attempt=state.attempt,
        outputs=cast("dict[str, str]", record.body["outputs"]),
        payload=cast(JsonObject, record.body["payload"]),
        at=record.at,
        meta=cast(JsonObject, record.body["meta"]),
    )
    answered = state.rebuild_n is None or state.rebuild_n < commit.attempt
    rebuild_n = None if answered else state.rebuild_n
    return replace(state, holder=None, attempt=None, committed=commit, rebuild_n=rebuild_n, heal_n=None, accepted=())
