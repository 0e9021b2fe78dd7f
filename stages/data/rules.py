"""What an on-line pairs artifact states: how its pairs are made, and what a few of them look like."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.stage import Artifact, JsonObject, StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULES: Final = "online.json"
PROBE: Final = "probe.json"
SCHEMA: Final = 1


@dataclass(frozen=True)
class Rules:
    """How on-line pairs are made. `preset` holds every value of it; `hr_size` None takes whole photographs."""

    preset: JsonObject
    seed: int
    scale: int
    hr_size: int | None

    def write(self, path: Path, photographs: str) -> None:
        """Write ``online.json``; `photographs` is a digest of what the rules are for."""
        text = {"schema": SCHEMA, **vars(self), "photographs": photographs}
        path.write_text(json.dumps(text, sort_keys=True, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def of(cls, artifact: Artifact) -> Rules:
        """The rules of an artifact. Raises StageError when it was written by another version."""
        data: dict[str, Any] = json.loads(artifact.read(RULES))
        if data.get("schema") != SCHEMA:
            raise StageError(
                f"{artifact.label}: expected {RULES} of schema {SCHEMA}, got {data.get('schema')!r}; "
                "it was written by another version of Sharpline: use that version, or make the pairs again"
            )
        return cls(data["preset"], data["seed"], data["scale"], data["hr_size"])


def is_online(artifact: Artifact) -> bool:
    """Whether the pairs of an artifact are made when they are read."""
    return any(entry.name == RULES for entry in artifact.manifest.entries)


def pair_digest(lr: NDArray[np.uint8], hr: NDArray[np.uint8]) -> str:
    """sha256 over sizes and pixels of both images."""
    digest = hashlib.sha256(f"{lr.shape} {hr.shape}\n".encode())
    for image in (lr, hr):
        digest.update(image.tobytes())
    return digest.hexdigest()
