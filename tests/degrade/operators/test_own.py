"""An operator of one's own is one small file, and its name in the registry: ``posterise.py`` beside this test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
USE = """
import numpy as np
from degrade.engine import render
from degrade.presets import parse_preset
from degrade.recipe import Recipe, sample_recipe

preset = parse_preset('''
preset: 1
name: mine
steps: [{op: imresize, id: down}, {op: posterise, id: bands, p: 0.5, levels: [2, 6]}]
''', "mine")
photo = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (128, 1, 3))
applied = 0
for crop in range(16):
    recipe = sample_recipe(preset, seed=1, image="ab" * 32, crop=crop, image_size=(128, 256), hr_size=128, scale=4)
    hr, lr = render(photo, recipe)
    again = render(photo, Recipe.from_json(recipe.to_json()))[1]
    columns = recipe.columns()
    assert np.array_equal(lr, again) and set(columns) == set(preset.columns())
    if columns["bands_applied"]:
        applied += 1
        assert len(np.unique(lr)) <= columns["bands_levels"] <= 6
    else:
        assert columns["bands_levels"] is None and len(np.unique(lr)) > 6
assert 0 < applied < 16
print(preset.columns()["bands_levels"])
"""


def test_a_file_and_its_name_in_the_registry_are_all_it_takes(tmp_path):
    """Presets, recipes, columns, replay and rendering know it from then on; done to a copy of the library."""
    shutil.copytree(ROOT / "degrade", tmp_path / "degrade", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "posterise.py", tmp_path / "degrade" / "operators")
    registry = tmp_path / "degrade" / "operators" / "registry.py"
    text = registry.read_text()
    imported = "from degrade.operators.posterise import Posterise, PosteriseDraw\n"
    for before, after in (
        ("from degrade.operators.resize", imported + "from degrade.operators.resize"),
        ("AnyOperator: TypeAlias = (\n", "AnyOperator: TypeAlias = (\n    Posterise |\n"),
        ("AnyDraw: TypeAlias = (\n", "AnyDraw: TypeAlias = (\n    PosteriseDraw |\n"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    registry.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.returncode) == ("int\n", 0), run.stderr
