"""Code fingerprints: what counts as a change of code, how far the closure reaches, on every Python alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import pipelines.fingerprint
from pipelines.fingerprint import CodeFingerprint, UnreadableCode, code_changes, fingerprint, package_fingerprint
from pipelines.stage import Stage
from pipelines.syntax import read_syntax

GOLDEN = Path(__file__).with_name("golden")
FROZEN = json.loads((GOLDEN / "code_sample.json").read_text())
ROOT = Path(__file__).parents[2]

Print = Callable[[], CodeFingerprint]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy of the sample package that may be edited."""
    return Path(shutil.copytree(GOLDEN / "code_sample", tmp_path / "code_sample"))


@pytest.fixture
def taken(sample: Path, monkeypatch: pytest.MonkeyPatch) -> Print:
    """Fingerprints the copy. Nothing of it is imported: fingerprints read files."""
    monkeypatch.setitem(sys.modules, "code_sample.stage", SimpleNamespace(__file__=str(sample / "stage.py")))
    monkeypatch.setattr(pipelines.fingerprint, "CONTRACT_VERSION", 1)
    stage = type("Sample", (Stage,), {"__module__": "code_sample.stage"})
    return lambda: fingerprint(stage, [sample])


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{file.name} has no {old!r}"
    file.write_text(text.replace(old, new, 1))


# ---------------------------------------------------------------- frozen


def test_golden_fingerprint(taken: Print) -> None:
    assert {"digest": taken().digest, "files": taken().files} == FROZEN


def test_every_supported_python_agrees(tmp_path: Path) -> None:
    """With whatever other interpreters this machine has; syntax.py needs the standard library only."""
    script = (
        "import sys; from pathlib import Path; from pipelines.syntax import read_syntax\n"
        "for f in sys.argv[1:]: print(read_syntax(Path(f).read_bytes()).digest)"
    )
    files = sorted(str(f) for folder in (GOLDEN / "code_sample", ROOT / "pipelines") for f in folder.rglob("*.py"))
    here = [read_syntax(Path(f).read_bytes()).digest for f in files]
    for python in sorted(Path.home().glob(".pyenv/versions/3.1[12].*/bin/python")):
        command = [python, "-c", script, *files]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert output.split() == here, f"{python} reads the same code differently"


# ---------------------------------------------------------------- what counts

UNSEEN = {
    "comment": ("noise.py", "LIMIT", "# louder\nLIMIT"),
    "blank lines and quotes": ("lazy.py", '\n\ndef work(size, value):\n    module, _, name = FAMILIES["plain"]',
                               "\n\n\n\ndef work( size,value ):\n\n    module, _, name = FAMILIES['plain']"),
    "parentheses": ("noise.py", "return factor(value) + by", "return (\n        factor(value)\n        + by\n    )"),
    "docstring": ("noise.py", '"""Scaled sum."""', '"""Sum, scaled."""'),
    "docstring gone": ("noise.py", '"""Scaled sum."""', ""),
    "attribute docstring": ("stage.py", '"""How much."""', ""),
    "module docstring": ("__init__.py", "A small package", "A package"),
    "argument annotation": ("noise.py", "value: float, by: float", "value: int, by"),
    "return annotation": ("helpers/deep.py", " -> int", ""),
    "local annotation": ("stage.py", "value: float = ", "value = "),
    "module annotation": ("noise.py", "LIMIT: float", "LIMIT"),
    "type-checking import": ("stage.py", "import unreached", "import unreached\n    import torch"),
    "pass": ("noise.py", "        pass\n", "        pass\n        pass\n"),
    "a module that nothing reaches": ("unreached.py", "nobody", "no one"),
    "line endings": ("noise.py", "LIMIT: float = 0.5\n", "LIMIT: float = 0.5\r\n"),
}  # fmt: skip
SEEN = {
    "function body": ("noise.py", "factor(value) + by", "factor(value) - by"),
    "integer to float": ("stage.py", "disturb.add(1, 1.0)", "disturb.add(1.0, 1.0)"),
    "integer to boolean": ("stage.py", "disturb.add(1, 1.0)", "disturb.add(True, 1.0)"),
    "string": ("plugins/two.py", '"two"', '"Two"'),
    "string to bytes": ("plugins/two.py", '"two"', 'b"two"'),
    "default of an argument": ("noise.py", "by: float = 1.0", "by: float = 2.0"),
    "class-level annotation": ("stage.py", "strength: float", "strength: int"),
    "class-level default": ("stage.py", "float = 1.0", "float = 2.0"),
    "decorator": ("helpers/deep.py", "def factor", "@staticmethod\ndef factor"),
    "two modules away": ("helpers/shapes.py", "64", "65"),
    "imported inside a function": ("lazy.py", "def work(size, value)", "def work(value, size)"),
    "named by a string": ("families/plain.py", "class Plain:", "class Plain:\n    x = 1"),
    "named by the start of a string": ("plugins/one.py", '"one"', '"1"'),
    "named relatively": ("relative.py", "width = ", "height = "),
    "code of a package": ("helpers/__init__.py", '"""Helpers."""', "X = 1"),
    "f-string format": ("relative.py", "{name:.2f}", "{name:.3f}"),
}


def test_the_sample_reaches_what_it_should() -> None:
    assert set(FROZEN["files"]) == {
        "code_sample/__init__.py", "code_sample/stage.py", "code_sample/noise.py", "code_sample/lazy.py",
        "code_sample/relative.py", "code_sample/helpers/__init__.py", "code_sample/helpers/deep.py",
        "code_sample/helpers/shapes.py", "code_sample/families/plain.py", "code_sample/plugins/one.py",
        "code_sample/plugins/two.py",
    }  # fmt: skip


@pytest.mark.parametrize("change", UNSEEN)
def test_these_edits_change_nothing(change: str, sample: Path, taken: Print) -> None:
    name, old, new = UNSEEN[change]
    edit(sample / name, old, new)
    assert taken().digest == FROZEN["digest"]


@pytest.mark.parametrize("change", SEEN)
def test_these_edits_change_the_digest_and_name_the_file(change: str, sample: Path, taken: Print) -> None:
    name, old, new = SEEN[change]
    edit(sample / name, old, new)
    assert taken().digest != FROZEN["digest"]
    assert code_changes(FROZEN["files"], taken().files) == [f"code_sample/{name}"]


def test_a_new_import_and_a_new_plugin_are_named(sample: Path, taken: Print) -> None:
    (sample / "plugins/three.py").write_text("NAME = 3\n")
    edit(sample / "noise.py", "from code_sample.helpers.deep import factor", "factor = abs")
    assert code_changes(FROZEN["files"], taken().files) == [
        "code_sample/helpers/deep.py (gone)", "code_sample/noise.py", "code_sample/plugins/three.py (new)",
    ]  # fmt: skip


def test_a_raised_contract_version_changes_every_fingerprint(taken: Print, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines.fingerprint, "CONTRACT_VERSION", 2)
    assert taken().files == FROZEN["files"]
    assert taken().digest != FROZEN["digest"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f(a, b)", "f(a)(b)"),
        ("'ab', 'c'", "'a', 'bc'"),
        ("return_ = [[], 1]", "return_ = [[1]]"),
        ("def f(a, /): g", "def f(a): g"),
        ("{**a}", "{None: a}"),
        ("x = None", "x = ..."),
        ("def f():\n return", "def f():\n return None"),
        ("import a.b as c", "from a import b as c"),
        ("if x: a\nelse: b", "if x:\n a\nb"),
    ],
)
def test_different_programs_have_different_digests(one: str, other: str) -> None:
    assert read_syntax(one.encode()).digest != read_syntax(other.encode()).digest


# ---------------------------------------------------------------- where the closure starts and what stops it


def test_a_base_class_in_another_package_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"lent_base": "from lent_base import tool\n", "lent": "import lent_base.stage\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "stage.py").write_text(text)
        monkeypatch.setitem(sys.modules, f"{name}.stage", SimpleNamespace(__file__=str(tmp_path / name / "stage.py")))
    (tmp_path / "lent_base/tool.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    base = type("Base", (Stage,), {"__module__": "lent_base.stage"})
    found = fingerprint(type("Derived", (base,), {"__module__": "lent.stage"}), [])
    assert list(found.files) == ["lent/stage.py", "lent_base/stage.py", "lent_base/tool.py"]


def test_a_single_file_outside_every_root_counts_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alone.py"
    file.write_text("import numpy, stages\n")
    monkeypatch.setitem(sys.modules, "nowhere", SimpleNamespace(__file__=str(file)))
    found = fingerprint(type("Alone", (Stage,), {"__module__": "nowhere"}), [])
    assert list(found.files) == ["alone.py", "stages/__init__.py"]


def test_a_class_without_a_file_is_refused() -> None:
    with pytest.raises(UnreadableCode, match=r"Typed: its module 'no\.such' has no source file"):
        fingerprint(type("Typed", (Stage,), {"__module__": "no.such"}), [])


def test_code_that_does_not_parse_is_located(sample: Path, taken: Print) -> None:
    edit(sample / "helpers/shapes.py", "SIZE = 64", "SIZE = 64\nSIZE = = 64")
    with pytest.raises(UnreadableCode, match=r"shapes\.py:2: cannot fingerprint: invalid syntax"):
        taken()


def test_an_edit_within_one_tick_of_the_clock_is_seen(sample: Path, taken: Print) -> None:
    first = taken().digest
    edit(sample / "helpers/shapes.py", "64", "65")  # same size, perhaps the same mtime
    assert taken().digest != first


# ---------------------------------------------------------------- the installed packages


def test_the_package_fingerprint_covers_the_three_packages_once() -> None:
    assert package_fingerprint() == package_fingerprint()
    assert len(package_fingerprint()) == 64


def test_forty_modules_are_read_in_a_tenth_of_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (ROOT / "pipelines/keys.py").read_text()
    (tmp_path / "many").mkdir()
    for i in range(40):
        (tmp_path / f"many/m{i}.py").write_text(f"from . import m{(i + 1) % 40}\n{body}")
    monkeypatch.setitem(sys.modules, "many.m0", SimpleNamespace(__file__=str(tmp_path / "many/m0.py")))
    stage = type("Many", (Stage,), {"__module__": "many.m0"})
    best = 9.0
    for _ in range(3):
        start = time.process_time()
        assert len(fingerprint(stage, [tmp_path / "many"]).files) == 40
        best = min(best, time.process_time() - start)
    assert best < 0.2  # 0.1 s on a quiet machine
