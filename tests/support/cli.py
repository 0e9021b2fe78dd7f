"""The command as people run it: a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("sharpline")


@dataclass(frozen=True)
class Finished:
    """How a command ended. `code` is negative for a signal, as in `subprocess`."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Sharpline:
    """Runs the installed `sharpline` from any folder. Specs that use toy stages name ``tests/`` in ``code:``."""

    cwd: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the command as the leader of its own process group."""
        command = [str(COMMAND), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            cwd=self.cwd,
            env={**os.environ, **self.env},
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str | Path, timeout: float = 280) -> Finished:
        """Run the command to its end."""
        started = time.perf_counter()
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return Finished(process.returncode, out, err, time.perf_counter() - started)

    def killed_after(self, seconds: float, *arguments: str | Path) -> bool:
        """Run the command and ``kill -9`` its process group after `seconds`; False when it had ended before."""
        process = self.start(*arguments)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        return False

    def plan(self, *arguments: str | Path) -> dict[str, dict[str, Any]]:
        """``sharpline plan --json``, by stage."""
        done = self("plan", *arguments, "--json")
        assert done.code == 0, done.err
        return {stage["stage"]: stage for stage in json.loads(done.out)["stages"]}


def events(lines: Sequence[str] | str) -> list[dict[str, Any]]:
    """The events of ``sharpline run --json``."""
    text = lines.splitlines() if isinstance(lines, str) else lines
    return [json.loads(line) for line in text if line.startswith("{")]
