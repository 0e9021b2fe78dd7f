"""State dicts of other people under our names: renaming rules as data, and nothing left over on either side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before every name."""


class KeyMapError(ValueError):
    """A state dict that is not what a key map describes; the message names the keys."""


@dataclass(frozen=True)
class KeyMap:
    """How the names of one published layout become ours.

    `rules` are (regular expression, replacement): the first one that matches a whole name gives the new name.
    `ignored` match names that hold no weight of the network (buffers computed anew, losses of the training).
    `source` says where the layout comes from; `marks` is a name that tells it from other layouts.
    """

    source: str
    marks: str
    rules: Sequence[tuple[str, str]]
    ignored: Sequence[str] = ()

    def rename(self, name: str) -> str | None:
        """Our name, "" for an ignored one, None for one that no rule knows."""
        if any(re.fullmatch(pattern, name) for pattern in self.ignored):
            return ""
        for pattern, replacement in self.rules:
            match = re.fullmatch(pattern, name)
            if match:
                return match.expand(replacement)
        return None


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefixes of :data:`WRAPPERS`, where all have them."""
    for prefix in WRAPPERS:
        if state and all(name.startswith(prefix) for name in state):  # either may be inside the other
            return unwrapped({name.removeprefix(prefix): value for name, value in state.items()})
    return dict(state)


def convert(state: Mapping[str, Tensor], keymap: KeyMap, module: nn.Module) -> dict[str, Tensor]:
    """`state` under the names of `module`, every tensor of the shape the module has.

    Tensors that differ from the module's by axes of length one (a linear layer for a 1x1 convolution) take its
    shape. Raises :class:`KeyMapError` for names that no rule knows, for weights of the module that are missing, for
    two names that become one, and for other shapes.
    """
    wanted = module.state_dict()
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, value in unwrapped(state).items():
        ours = keymap.rename(name)
        if ours == "":
            continue
        if ours is None or ours not in wanted:
            unknown.append(name)
        elif ours in found:
            raise KeyMapError(f"{keymap.source}: {name} and another name both become {ours}")
        else:
            found[ours] = _shaped(value, wanted[ours], name, keymap)
    missing = [name for name in wanted if name not in found]
    if unknown or missing:
        parts = [f"unknown here: {_some(unknown)}"] if unknown else []
        parts += [f"missing for the network: {_some(missing)}"] if missing else []
        raise KeyMapError(
            f"the weights are not those of {keymap.source} with these settings; {'; '.join(parts)}. "
            "Check the layout, and the constructor of the network against the file"
        )
    return found


def _shaped(value: Tensor, wanted: Tensor, name: str, keymap: KeyMap) -> Tensor:
    if [n for n in value.shape if n != 1] != [n for n in wanted.shape if n != 1]:
        raise KeyMapError(
            f"{keymap.source}: {name} has shape {list(value.shape)}, the network expects {list(wanted.shape)}; "
            "its constructor does not fit the file"
        )
    return value.reshape(wanted.shape).to(torch.float32)


def _some(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
