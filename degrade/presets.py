"""The presets that come with Sharpline, and the user's own from a YAML file."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from degrade.errors import DegradeError
from degrade.preset import Preset

__all__ = ["Preset", "load_preset", "preset_names"]


@lru_cache(maxsize=1)
def preset_names() -> tuple[str, ...]:
    """Names of the bundled presets, sorted."""
    folder = resources.files("degrade") / "presets"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_preset(name_or_path: str | Path) -> Preset:
    """A bundled preset by name, or a YAML file by its path (it ends in .yaml or .yml).

    Raises :class:`DegradeError` that names the field, what it expected and what it found.
    """
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DegradeError(f"preset {name}: cannot be read: {error}") from error
        return parse_preset(text, name)
    if name not in preset_names():
        near = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise DegradeError(
            f"there is no preset {name!r}{hint}; the presets are {', '.join(preset_names())}; "
            "a preset of your own is the path of a .yaml file"
        )
    return _bundled(name)


@lru_cache(maxsize=32)
def _bundled(name: str) -> Preset:
    return parse_preset((resources.files("degrade") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"), name)


def parse_preset(text: str, where: str) -> Preset:
    """A preset from YAML text; `where` is named in errors."""
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DegradeError(f"preset {where}: not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise DegradeError(f"preset {where}: expected a mapping with name and steps, got {type(value).__name__}")
    try:
        return Preset.model_validate(value)
    except ValidationError as error:
        lines = [f"  {_place(item['loc'])}: {item['msg']} (got {_short(item['input'])})" for item in error.errors()]
        raise DegradeError("\n".join([f"preset {where}:", *lines])) from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "preset"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
