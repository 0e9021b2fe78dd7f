"""Commands of other distributions: they work, they cost nothing until called, and broken ones break themselves only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Finished, Sharpline

FILES = {
    "good_table.py": 'COMMANDS = {"shout": ("good_shout", "Say it loudly."), "box": ("good_box", "Open a box.")}\n',
    "good_shout.py": 'print("IMPORTED")\n\ndef command(word: str) -> None:\n    print(word.upper())\n',
    "good_box.py": (
        "import typer\n\napp = typer.Typer()\n\n@app.command()\ndef lid() -> None:\n    print('lifted')\n\n"
        "@app.command()\ndef nail() -> None:\n    raise typer.Exit(7)\n"
    ),
    "bad_table.py": "import no_such_module\n",
    "half_table.py": 'COMMANDS = {"half": ("half_module", "Half of it."), "empty": ("empty_module", "Nothing.")}\n',
    "half_module.py": "raise RuntimeError('half of it is missing')\n",
    "empty_module.py": "",
    "twin_table.py": 'COMMANDS = {"shout": ("good_shout", "Another one."), "run": ("good_shout", "Not ours.")}\n',
}
POINTS = {
    "good-kit": "shout = good_table:COMMANDS\nbox = good_table:COMMANDS\n",
    "bad-kit": "sulk = bad_table:COMMANDS\n",
    "half-kit": "half = half_table:COMMANDS\nempty = half_table:COMMANDS\nabsent = half_table:COMMANDS\n",
    "run-kit": "run = twin_table:COMMANDS\n",
}


def install(folder: Path, distribution: str, points: str) -> None:
    """What an installer leaves of a distribution, as far as entry points go."""
    info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[sharpline.commands]\n{points}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for distribution, points in POINTS.items():
        install(folder, distribution, points)
    return folder


def call(folder: Path, *arguments: str) -> Finished:
    return Sharpline(folder, {"PYTHONPATH": str(folder)})(*arguments)


def test_help_lists_them_and_imports_none_of_their_commands(folder: Path) -> None:
    done = call(folder, "--help")
    assert done.code == 0
    lines = {line.split()[0]: line.strip() for line in done.out.partition("Commands:")[2].splitlines() if line.strip()}
    assert lines["shout"].endswith("Say it loudly.")
    assert lines["box"].endswith("Open a box.")
    assert "cannot be loaded; from bad-kit 1.2" in lines["sulk"]
    assert lines["run"].endswith("build the rest."), "the names of our own commands are taken"
    assert "degrade" in lines, "ours of the stages come the same way"
    assert "IMPORTED" not in done.out


def test_a_command_and_a_group_work_as_ours_do(folder: Path) -> None:
    assert call(folder, "shout", "ahoy").out.split() == ["IMPORTED", "AHOY"]
    assert call(folder, "box", "lid").out == "lifted\n"
    assert call(folder, "box", "nail").code == 7
    missing = call(folder, "box", "hinge")
    assert (missing.code, "No such command 'hinge'" in missing.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "owner", "why"),
    [
        ("sulk", "bad-kit 1.2", "No module named 'no_such_module'"),
        ("half", "half-kit 1.2", "RuntimeError: half of it is missing"),
        ("empty", "half-kit 1.2", "has neither a function `command` nor a typer.Typer called `app`"),
        ("absent", "half-kit 1.2", "has no entry 'absent'"),
    ],
)
def test_a_broken_one_says_whose_it_is(folder: Path, name: str, owner: str, why: str) -> None:
    done = call(folder, name)
    assert done.code == 2
    assert f"the command {name!r} comes with {owner} and cannot be used" in done.err
    assert why in done.err
    assert "Traceback" not in done.err


def test_a_name_that_two_distributions_bring_is_nobodys(folder: Path, tmp_path: Path) -> None:
    install(tmp_path, "twin-kit", "shout = twin_table:COMMANDS\n")
    both = Sharpline(tmp_path, {"PYTHONPATH": f"{tmp_path}:{folder}"})
    done = both("shout", "ahoy")
    assert done.code == 2
    assert "good-kit 1.2" in done.err
    assert "twin-kit 1.2" in done.err
    assert both("box", "lid").code == 0
