"""Who holds a claim, and the proof, where there is one, that a process is gone.

On the machine of the holder, ``/proc`` settles it at once: the same boot and process namespace, and either no
process with that id or one that started at another moment. Elsewhere only the heartbeat tells.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from pipelines.canonical import Json, JsonObject

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """One driver process.

    `id` is unique to it; `run` is its run's id. `boot_id` names the boot of the machine and the process
    namespace in it (containers of one machine share a boot but not process ids), empty where unknown.
    `started` is the process's start in clock ticks since boot, 0 where unknown.
    """

    id: str
    run: str
    host: str
    boot_id: str
    pid: int
    started: int

    @classmethod
    def current(cls, run: str) -> Holder:
        """A holder for this process. Every call makes another one."""
        pid = os.getpid()
        return cls(secrets.token_hex(8), run, socket.gethostname(), boot_id(), pid, start_ticks(pid) or 0)

    def proven_dead(self) -> bool:
        """Whether this machine can tell that the process is gone. False means "not known"."""
        here = (boot_id(), socket.gethostname())
        if not self.boot_id or not self.started or (self.boot_id, self.host) != here:
            return False
        return process_gone(self.pid, self.started)

    def __str__(self) -> str:
        return f"run {self.run} (process {self.pid} on {self.host})"

    def to_json(self) -> JsonObject:
        return cast(JsonObject, asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Holder:
        return cls(
            id=cast(str, data["id"]),
            run=cast(str, data["run"]),
            host=cast(str, data["host"]),
            boot_id=cast(str, data["boot_id"]),
            pid=cast(int, data["pid"]),
            started=cast(int, data["started"]),
        )


@functools.cache
def boot_id() -> str:
    """This boot and process namespace, or ``""`` where the system does not say (then only heartbeats count)."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def process_gone(pid: int, started: int) -> bool:
    """Whether the process of this boot and namespace with that id and start has ended."""
    ticks = start_ticks(pid)
    return ticks != started if ticks is not None else not _hidden(pid)


def _hidden(pid: int) -> bool:
    """Whether the process exists although ``/proc`` does not show it (``hidepid``); a zombie does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return False


def start_ticks(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when there is no such process (or a zombie)."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command may hold spaces and parentheses; the state and 18 further fields before the start follow the last one.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])
