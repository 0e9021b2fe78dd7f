"""Make basicsr 1.4.2 importable, as the reference that our operators are compared with.

``import basicsr`` imports all of its models and metrics, and ``basicsr.data.degradations`` wants
``torchvision.transforms.functional_tensor``, which torchvision 0.17 removed; where torchvision's compiled operators do
not load, importing torchvision fails as a whole. The modules that hold the reference operators need one function of
torchvision. So they are loaded from their files, by themselves, under a private name, with that function in place for
the moment of the import. Nothing of the product imports this; nothing is left in ``sys.modules`` under a public name.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from degrade.errors import DegradeError

_FUNCTIONAL = "torchvision.transforms.functional_tensor"
_PARENTS = ("torchvision", "torchvision.transforms")


def degradations() -> ModuleType:
    """``basicsr.data.degradations``: kernels, noise and JPEG of the reference (imports torch and scipy)."""
    return _load("data/degradations.py")


def diffjpeg() -> ModuleType:
    """``basicsr.utils.diffjpeg``: the reference's JPEG."""
    return _load("utils/diffjpeg.py")


def img_process_util() -> ModuleType:
    """``basicsr.utils.img_process_util``: the reference's filter2D and USMSharp."""
    return _load("utils/img_process_util.py")


@lru_cache(maxsize=8)
def _load(file: str) -> ModuleType:
    path = _root() / file
    name = "_sharpline_basicsr_" + path.stem
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DegradeError(f"basicsr 1.4.2 has {file} and the installed one does not; install basicsr==1.4.2")
    module = module_from_spec(spec)
    replaced = {public: sys.modules.get(public) for public in (*_PARENTS, _FUNCTIONAL)}
    sys.modules.update({_FUNCTIONAL: _functional_tensor(), **{parent: ModuleType(parent) for parent in _PARENTS}})
    try:
        spec.loader.exec_module(module)
    finally:
        for public, before in replaced.items():
            if before is None:
                del sys.modules[public]
            else:
                sys.modules[public] = before
    return module


def _root() -> Path:
    spec = PathFinder.find_spec("basicsr")
    if spec is None or spec.origin is None:
        raise DegradeError("basicsr is not installed; it comes with the distribution (basicsr==1.4.2)")
    return Path(spec.origin).parent


def _functional_tensor() -> ModuleType:
    module = ModuleType(_FUNCTIONAL)

    def rgb_to_grayscale(image: Any, num_output_channels: int = 1) -> Any:
        """torchvision's luma of a [..., 3, h, w] tensor (ITU-R 601-2), repeated over the channels asked for."""
        red, green, blue = image.unbind(dim=-3)
        gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(image.dtype).unsqueeze(dim=-3)
        return gray.expand(*gray.shape[:-3], num_output_channels, *gray.shape[-2:]) if num_output_channels > 1 else gray

    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    return module
