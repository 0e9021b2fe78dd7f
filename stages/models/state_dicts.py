"""Tensors by name out of the files in which people keep weights. Nothing but tensors is ever unpickled."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pipelines.stage import StageError


def read_state(
    path: Path, name: str, form: Literal["auto", "safetensors", "torch"], entry: str | None, prefix: str | None = None
) -> dict[str, Tensor]:
    """The state dict in the file at `path`, as contiguous CPU tensors that share no memory. `name` is for messages.

    `entry` selects a state dict out of a torch checkpoint that holds several (``params_ema``); the only one there
    needs no word. Where names begin with `prefix`, those are the tensors that are meant: the others are not read
    from the disk, and the prefix is dropped. Values that are no tensors (a version, a step) are left out. Raises
    StageError for a damaged file, one of another format, one that holds Python objects, and where `entry` is
    needed, or does not fit.
    """
    is_torch = _looks_like_torch(path)
    if form != "auto" and is_torch != (form == "torch"):
        came = "torch" if is_torch else "no torch"
        raise StageError(f"{name}: format {form} was asked for, and this is {came} file; set `format: auto`")
    loaded = _load_torch(path, name) if is_torch else _load_safetensors(path, name)
    state = _inside(_select(loaded, name, entry), prefix)
    odd = [key for key, value in state.items() if value.layout is not torch.strided or value.is_quantized]
    if odd:
        raise StageError(f"{name}: {odd[0]} is a sparse or quantised tensor; save it as a plain one")
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def merge(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all files, by file name. Raises StageError where two files hold one name."""
    merged: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for file, state in states.items():
        for name, value in state.items():
            if name in merged:
                raise StageError(
                    f"{origin[name]} and {file} both hold {name}: these are two models; name one file in `source`"
                )
            merged[name], origin[name] = value, file
    return merged


def _inside(state: dict[str, Tensor], prefix: str | None) -> dict[str, Tensor]:
    inside = {key: value for key, value in state.items() if prefix and key.startswith(prefix)}
    return {key.removeprefix(prefix or ""): value for key, value in inside.items()} or state


def _looks_like_torch(path: Path) -> bool:
    return _is_zip(path) or _start(path)[:1] == b"\x80"  # a pickle of protocol 2 and later


def _is_zip(path: Path) -> bool:
    return _start(path) == b"PK"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)


def _load_safetensors(path: Path, name: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise StageError(f"{name} is neither a whole safetensors file nor a torch file: {error}") from error


def _load_torch(path: Path, name: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        # torch's own text advises to allow every object; that would run whatever code the file holds
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"Python objects ({found[1]})" if found else "something that is no tensor (or is damaged)"
        raise StageError(
            f"{name} holds {what}, and only tensors are read; where you trust it, load it with the code that wrote it "
            "and save its state dict alone"
        ) from error
    except Exception as error:  # the archive reader raises many types on damaged files
        reason = str(error).strip().partition("\n")[0][:200]
        raise StageError(f"{name} is no whole torch file: {type(error).__name__}: {reason}") from error


def _select(loaded: Any, name: str, entry: str | None) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise StageError(f"{name} holds a {type(loaded).__name__}; expected a state dict, that is tensors by name")
    inside = [key for key, value in loaded.items() if isinstance(value, Mapping) and _tensors(value)]
    has = f"it has: {', '.join(map(str, inside))}" if inside else "its tensors lie at the top"
    if entry is not None:
        if entry not in inside:
            raise StageError(f"{name} has no state dict {entry!r}; {has}; change `entry`, or leave it out")
        return _tensors(loaded[entry])
    state = _tensors(loaded)
    if len(inside) == 1 and not state:
        return _tensors(loaded[inside[0]])
    if inside:
        raise StageError(f"{name} holds more than tensors by name; set `entry` to the state dict that is meant; {has}")
    if not state:
        raise StageError(f"{name} holds no tensor by name")
    return state


def _tensors(values: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in values.items() if isinstance(key, str) and isinstance(value, Tensor)}
