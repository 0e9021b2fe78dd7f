"""Key logs: who builds a key, and what came of it, under ``keys/<key>/<n>.json``.

Every record is created only if absent, with the number after the last one its writer has seen. So a
takeover, a commit and a release compete for one number, and a driver that lost its claim learns so from the
refusal of its commit, whatever the clocks say.

Every record ends with a seal over all of it. A damaged record makes the whole log unreadable: what the later ones
mean hangs on it, and none can be written in its place.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from pipelines.canonical import Json, JsonObject
from pipelines.errors import Damaged, NewerSchema
from pipelines.keys import key_folder
from pipelines.store.compare import compare_outputs
from pipelines.store.holder import Holder
from pipelines.store.keystate import RECORD_SCHEMA, Commit, KeyState, Record, RecordKind, refusal, replay
from pipelines.store.objects import ObjectNotFound, ObjectStore
from pipelines.store.schema import check_schema, encode_sealed, parse, seal_holds

__all__ = ["Claim", "Commit", "DamagedRecord", "Holder", "KeyLog", "KeyState", "compare_outputs", "replay"]


class DamagedRecord(Damaged):
    """A record of a key log is not what was written. `path` is its key in the store."""

    def __init__(self, url: str, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{url}: {path} is damaged: {why}; {advice(path)}")


def advice(path: str) -> str:
    """What to do about a damaged record. Away alone, it would hide those after it and let them come back later."""
    return (
        "it cannot be repaired: put the file back from a backup; or, while nothing runs, move the whole folder "
        f"{path.rpartition('/')[0]}/ away, then the stage counts as not built and a run builds it again"
    )


class KeyLog:
    """The log of one key. Cheap to make; remembers the records it has read, which never change."""

    def __init__(self, objects: ObjectStore, key: str) -> None:
        self.key = key
        self._objects = objects
        self._folder = f"keys/{key_folder(key)}"
        self._records: tuple[Record, ...] = ()

    def state(self) -> KeyState:
        """Read what is new and say where the key stands. Raises DamagedRecord naming the file."""
        records = self._records
        while (record := self._read(len(records))) is not None:
            records = (*records, record)
        self._records = records  # threads may share a log: each reads on from what it saw and none adds to another's
        return replay(records)

    def try_claim(self, holder: Holder, *, though_done: bool = False) -> Claim | None:
        """Claim the key for a build.

        None when somebody holds it, when somebody else was faster, or when it is committed and no rebuild
        was asked for: look at `state()` and decide about waiting, adopting or `take_over`. With `though_done`
        a committed key is claimed too, by one who looks after its bytes: releasing it leaves the commit as it was.
        """
        while True:
            state = self.state()
            if state.holder is not None or (state.done and not though_done):
                return None
            claim = self._claim(state, holder)
            if claim is not None:
                return claim

    def take_over(self, state: KeyState, holder: Holder) -> Claim | None:
        """Claim the key from the holder in `state`, found dead. None when the log went on since `state`."""
        if state.attempt is None:
            return None
        return self._claim(state, holder)

    def release_of(self, holder: Holder) -> None:
        """Give back the open claim if it is this very holder's: for one who does not know whether it got it."""
        state = self.state()
        if state.attempt is not None and state.holder == holder:
            Claim(self, state.attempt).release()

    def append_accept(self, fingerprint: str) -> None:
        """Hold `fingerprint` (of advisory code) equivalent to what the commit was built with."""
        self._append_anywhere("accept", {"fingerprint": fingerprint})

    def append_rebuild(self, why: str) -> None:
        """Ask for another build of a committed key, by an attempt that is yet to be claimed."""
        self._append_anywhere("rebuild", {"why": why})

    def append_heal(self, why: str) -> None:
        """Ask for the lost bytes of a committed key. Nothing happens where they, or a rebuild, were asked for."""
        while not (state := self.state()).rebuild:
            if self.append(state.next_n, "rebuild", {"why": why, "heal": True}):
                return

    def append(self, n: int, kind: RecordKind, body: Mapping[str, Json]) -> bool:
        """Create record `n`; False when it exists. The random token tells two equal records apart."""
        data = {"kind": kind, "at": round(time.time(), 3), **body, "token": secrets.token_hex(8)}
        return self._objects.put_if_absent(self._path(n), encode_sealed(data, RECORD_SCHEMA))

    def _claim(self, state: KeyState, holder: Holder) -> Claim | None:
        body: JsonObject = {"holder": holder.to_json()}
        if state.attempt is not None:
            body["over"] = state.attempt
        return Claim(self, state.next_n) if self.append(state.next_n, "claim", body) else None

    def _append_anywhere(self, kind: RecordKind, body: JsonObject) -> None:
        while not self.append(self.state().next_n, kind, body):
            pass

    def _read(self, n: int) -> Record | None:
        path = self._path(n)
        try:
            raw = self._objects.get(path)
        except ObjectNotFound:
            return None
        try:
            return _record(n, raw, path)
        except NewerSchema:
            raise
        except Damaged as error:
            raise DamagedRecord(self._objects.url, path, str(error)) from error

    def _path(self, n: int) -> str:
        return f"{self._folder}/{n:06d}.json"


class Claim:
    """The right to commit one key, until somebody takes it over. `attempt` is the number of its record."""

    def __init__(self, log: KeyLog, attempt: int) -> None:
        self._log = log
        self.attempt = attempt

    @property
    def key(self) -> str:
        return self._log.key

    def commit(self, outputs: Mapping[str, str], payload: JsonObject, meta: JsonObject) -> bool:
        """Make `outputs` (slot -> digest of a tree in the store) the result. False when the claim was lost."""
        slots: JsonObject = dict(outputs)
        return self._finish("commit", {"outputs": slots, "payload": payload, "meta": meta})

    def release(self) -> None:
        """Give the claim back without a result; nothing happens when it was lost or committed."""
        self._finish("release", {})

    def still_held(self) -> bool:
        """Whether a commit would have succeeded just now."""
        return self._log.state().attempt == self.attempt

    def _finish(self, kind: RecordKind, body: JsonObject) -> bool:
        while True:
            state = self._log.state()
            if state.attempt != self.attempt:
                return False
            if self._log.append(state.next_n, kind, {"attempt": self.attempt, **body}):
                return True


def _record(n: int, raw: bytes, path: str) -> Record:
    """Raises Damaged saying what is wrong with the bytes of a record."""
    data = parse(raw, path)
    sealed = seal_holds(data) if isinstance(data, dict) else None
    if sealed is False:
        raise Damaged("its seal does not fit")
    check_schema(data, RECORD_SCHEMA, path)
    assert isinstance(data, dict)
    why = refusal(data, sealed=bool(sealed))
    if why:
        raise Damaged(why)
    return Record.from_json(n, data)
