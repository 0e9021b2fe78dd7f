"""specs/rsd_tiny.yaml with few steps: teacher, students and bicubic end up in one table, with what each costs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Sharpline

SPEC = ROOT / "specs" / "rsd_tiny.yaml"
STUDENTS = ("rsd", "vsd", "sinsr")
SHORT = {
    "stages.pairs.with.hr_size": "64", "stages.pairs.with.crops": "2", "stages.teacher.with.network.widths": "[16]",
    "stages.teacher.with.steps": "8", "stages.teacher.with.validate_every": "0", "stages.scores.with.max_images": "2",
    "stages.scores.with.threads": "1", "stages.teacher.with.threads": "1",
} | {
    f"stages.{student}.with.{name}": value
    for student in STUDENTS
    for name, value in (("steps", "2"), ("training.batch_size", "2"), ("data.patch", "8"), ("threads", "1"),
                        ("picture_every", "0"), ("validate_every", "2"))
}  # fmt: skip


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_one_table_says_how_good_and_how_expensive_the_teacher_and_its_students_are(tmp_path: Path) -> None:
    short = [word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
    sharpline = Sharpline()
    done = sharpline("run", SPEC, "--store", tmp_path / "store", *short, "--executor", "local")
    assert done.code == 0, done.out + done.err
    got = sharpline("get", SPEC, "scores", tmp_path / "scores", "--store", tmp_path / "store", *short)
    assert got.code == 0, got.err
    models = json.loads((tmp_path / "scores" / "metrics.json").read_text())["models"]
    found = sorted((row.split("-")[0], costs.get("evaluations", 0)) for row, costs in models.items())
    assert found == [("bicubic", 0), ("one", 1), ("one", 1), ("one", 1), ("resshift", 1), ("resshift", 15)]
    page = next((tmp_path / "store" / "runs").glob("*/report.html")).read_text()
    table = page[page.index('<table class="metrics') :].partition("</table>")[0]
    rows = {re.sub("<.*", "", row) for row in re.findall(r'<th scope="row">(.*?)</th>', table)}
    assert {row.strip() for row in rows} == {"Bicubic", "teacher, 1 step", "teacher, 15 steps", *STUDENTS}
    assert "Evaluations" in table
    assert "Seconds per image" in table
    seconds = re.findall(r'data-v="([^"]*)">[^<]*</td>\s*</tr>', table)
    assert len(seconds) == 6
    assert all(float(value) > 0 for value in seconds)
