"""What the code fingerprint of each stage reaches: a new arrow here makes more edits rebuild more, so it is pinned."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipelines.fingerprint import fingerprint
from pipelines.registry import known_stages, load_stage

ROOT = Path(__file__).resolve().parents[2]

NETWORKS = {"stages/models", "stages/models/keymaps", "stages/models/edge"}
"""What builds a model builds any family of them."""

TRAINING = {  # models are built by family, so it reaches every family
    "stages/methods", "stages/training", *NETWORKS, "stages/diffusion", "stages/sampling", "stages/data",
    "stages/metrics", "degrade", "degrade/operators",
}  # fmt: skip
LOSSES = {"stages/losses"}

REACH = {
    "ingest.images": {"stages/ingest", "stages/data"},
    # It builds every family to check names and shapes; its code is advice only.
    "import.weights": {"stages/ingest", *NETWORKS, "stages/diffusion", "stages/sampling"},
    "degrade.pairs": {"stages/synthesis", "stages/data", "degrade", "degrade/operators"},
    # It reaches every network, and so holds its code as advice.
    "encode.latents": {
        "stages/encoding", "stages/data", *NETWORKS, "stages/diffusion",
        "stages/sampling",
    },
    "encode.one_step": {"stages/encoding", "stages/data", *NETWORKS, "stages/diffusion", "stages/sampling"},
    # Training and evaluation open on-line pairs, which are rendered where they are read. Training holds its code as
    # advice only, so an edit of the engine shows as drift in its plan; what it does to pixels arrives with the pairs.
    "train.resshift": TRAINING | LOSSES,
    "distill.rsd": TRAINING | LOSSES,
    "distill.sinsr": TRAINING,
    "train.autoencoder": TRAINING | LOSSES,
    "train.edge_unet": TRAINING | LOSSES,
    "train.edge_joint": TRAINING | LOSSES,
    "train.edge_decoder": TRAINING | LOSSES,
    "evaluate": {
        "stages/evaluation", "stages/metrics", *NETWORKS,
        "stages/diffusion", "stages/sampling", "stages/data",
        "degrade", "degrade/operators",
    },
    "upscale": {
        "stages/inference", "stages/sampling", *NETWORKS,
        "stages/diffusion", "stages/data",
    },
}  # fmt: skip


def folders(files: dict[str, str]) -> set[str]:
    """Folders of the reached files; a package's own empty ``__init__`` does not count."""
    return {str(Path(file).parent) for file in files if not file.endswith("__init__.py")}


@pytest.mark.parametrize("name", sorted(REACH))
def test_a_stage_reaches_these_rooms_and_no_other(name: str) -> None:
    assert folders(fingerprint(load_stage(name), ()).files) == REACH[name]


def test_every_built_in_stage_is_pinned() -> None:
    assert set(known_stages()) == set(REACH)


@pytest.mark.parametrize("package", ["pipelines", "degrade", "stages"])
def test_package_inits_import_nothing(package: str) -> None:
    for file in sorted((ROOT / package).rglob("__init__.py")):
        imports = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert not imports, f"{file.relative_to(ROOT)} imports: whoever touches the package would pay for it"


def test_declaring_modules_load_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom pipelines.registry import *\nfor n in known_stages(): load_stage(n)\n"
        "print([m for m in ('torch','ray','cv2','numpy','pyarrow','skimage','albumentations') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
