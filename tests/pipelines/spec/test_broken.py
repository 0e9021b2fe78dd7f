"""Every broken spec of the corpus, through the real command: located, explained, exit code 2, no traceback.

A file of ``broken/`` begins with one comment a problem: ``# expect LINE:COLUMN the message``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.cli.main import main

CORPUS = Path(__file__).parent / "broken"
FILES = sorted(CORPUS.glob("*.yaml"))
EXPECT = re.compile(r"^# expect (\d+:\d+) (.*)$", re.MULTILINE)


def validate(file: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The problems that ``sharpline validate`` prints, each with its excerpt; the exit code has to be 2."""
    assert main(["validate", file]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    *problems, last = re.split(rf"^(?={re.escape(file)}:|\d+ problems?;)", printed.err, flags=re.MULTILINE)[1:]
    assert last == f"{len(problems)} problem{'s' * (len(problems) != 1)}; nothing was started\n"
    return problems


def test_the_corpus_is_large() -> None:
    assert len(FILES) >= 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_broken_spec_is_explained(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CORPUS)
    expected = [f"{file.name}:{place}: {message}" for place, message in EXPECT.findall(file.read_text())]
    problems = validate(file.name, capsys)
    assert len(problems) == len(expected)
    for problem, beginning in zip(problems, expected, strict=True):
        first, source, caret, *_ = problem.splitlines()
        assert first.startswith(beginning)
        assert re.fullmatch(r" +\d+ \| .*", source)
        assert re.fullmatch(r"      \| +\^+", caret)


BYTES = {
    "ten-megabytes": (b"sharpline: 1\n" + b"# padding\n" * 1_000_000, "1:1: the file is larger than 2 MB"),
    "latin-1": ("sharpline: 1\nname: caf\u00e9\n".encode("latin-1"), "2:10: byte 0xe9 is not UTF-8"),
    "utf-16": ("sharpline: 1\n".encode("utf-16"), "1:1: the file is UTF-16"),
    "nul": (b"sharpline: 1\nname: a\0b\n", "2:8: a NUL byte in the file"),
    "control": (b"sharpline: 1\nname: a\x1b[31mb\n", "2:8: the control character U+001B"),
    "windows-conflict": (b"sharpline: 1\r\n<<<<<<< HEAD\r\n", "2:1: a merge-conflict marker"),
    "only-blanks": (b" \n\n  \n", "1:1: the file is empty"),
    "open-brackets": (b"[" * 1_000_000, "1:61: nested more than 60 levels"),
    "one-endless-line": (
        b"sharpline: 1\nname: " + b"x" * 1_900_000 + b": y\n",
        "2:1900007: a colon that cannot stand here",
    ),
    "many-values": (b"sharpline: 1\nparams: {all: [" + b"1," * 300_000 + b"]}\n", "more than 200,000 values"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_spec_are_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, expected = BYTES[name]
    file = tmp_path / f"{name}.yaml"
    file.write_bytes(data)
    [problem] = validate(str(file), capsys)
    assert expected in problem
    assert all(len(line) < 300 for line in problem.splitlines())


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [problem] = validate(str(tmp_path / "spec.yaml"), capsys)
    assert "no such file" in problem
    [problem] = validate(str(tmp_path), capsys)
    assert "is a folder" in problem


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    body = "sharpline: 1\nname: marked\nstages:\n  a: {uses: 'tests.support.toy_stages:Noop'}\n"
    (tmp_path / "spec.yaml").write_bytes(b"\xef\xbb\xbf" + body.encode())
    assert main(["validate", str(tmp_path / "spec.yaml")]) == 0
