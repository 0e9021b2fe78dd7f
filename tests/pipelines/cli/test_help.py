"""The command itself: help that costs nothing, nearest names, exit codes."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from pipelines.cli import main as cli
from pipelines.cli.main import COMMANDS, main
from pipelines.errors import LeaseHeld

HEAVY = ("torch", "ray", "cv2", "pyarrow", "pydantic", "numpy", "yaml", "rich", "jinja2", "obstore")
PROBE = """
import sys, time
from pipelines.cli.main import main
code = main(sys.argv[1:])
print("modules:", *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
print("seconds:", time.process_time(), file=sys.stderr)
sys.exit(code)
"""


def probe(*argv: str) -> tuple[int, str, set[str], float]:
    """Exit code, output, heavy modules and CPU seconds of a command in a process of its own."""
    script = PROBE.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, timeout=60)
    report = dict(line.split(":", 1) for line in done.stderr.splitlines()[-2:])
    return done.returncode, done.stdout, set(report["modules"].split()), float(report["seconds"])


def test_help_is_cheap_and_lists_every_command() -> None:
    code, out, modules, seconds = probe("--help")
    assert code == 0
    assert modules == set()
    assert seconds < 0.4
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", out, re.MULTILINE)


def test_the_version_is_cheap_too() -> None:
    code, out, modules, _ = probe("--version")
    assert (code, modules) == (0, set())
    assert out.startswith("sharpline ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_names_real_commands_without_heavy_modules(name: str) -> None:
    code, out, modules, _ = probe(name, "--help")
    assert code == 0
    assert f"sharpline {name}" in out
    assert not modules & {"torch", "ray", "cv2"}
    module = importlib.import_module(COMMANDS[name][0])
    assert module.command.__doc__


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["vaildate"], "Did you mean 'validate'?"),
        (["validate"], "Missing argument"),
        (["validate", "--sett", "x"], "--set"),
        (["--versoin"], "--version"),
    ],
)
def test_a_wrong_command_line_exits_with_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LeaseHeld("another run builds it"), 4, "sharpline: another run builds it\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_app", lambda: failing)
    assert main(["runs"]) == code
    assert said in capsys.readouterr().err


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_app", lambda: failing)
    with pytest.raises(ZeroDivisionError):
        main(["runs"])
