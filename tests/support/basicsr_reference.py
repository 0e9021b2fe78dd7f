"""Real-ESRGAN's degradation as the released x4plus model orders basicsr's operators, for a batch at a time.

Kernels, noise levels and qualities are drawn for each sample, sizes and the kinds of noise once for the batch, as its
training step does. The parameters are written out from the released options, not read from our presets. basicsr draws
from the global generators of random, NumPy and torch, and so does this. Importing it needs no basicsr; making a
:class:`Reference` raises DegradeError where there is none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from degrade.basicsr_compat import degradations, diffjpeg, img_process_util

PI = float(np.pi)
FAMILIES = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
WEIGHTS = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
MODES = ["area", "bilinear", "bicubic"]
SIDE = 21


def seed(value: int) -> None:
    """Seed the global generators."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


@contextmanager
def seeded(value: int) -> Iterator[None]:
    """Seed the global generators within the block."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed(value)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Code values [h, w, 3] -> [1, 3, h, w] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def to_image(tensor: torch.Tensor) -> np.ndarray:
    """[1, 3, h, w] in 0..1 -> float32 code values [h, w, 3]."""
    return np.ascontiguousarray(tensor[0].permute(1, 2, 0).numpy() * 255)


def padded(kernel: np.ndarray) -> np.ndarray:
    """A kernel in the middle of 21 x 21, as the training pipeline pads all of them."""
    return np.pad(kernel, (SIDE - kernel.shape[0]) // 2)


def filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """basicsr's filter2D of code values [h, w, 3] with the padded `kernel`."""
    with torch.no_grad():
        return to_image(img_process_util().filter2D(to_tensor(image), torch.from_numpy(padded(kernel))[None].float()))


def draw_kernel(sigma: list[float]) -> np.ndarray:
    """A blur kernel, 21 x 21; `sigma` is the range of both widths."""
    size = random.choice(range(7, 22, 2))
    if random.random() < 0.1:
        omega = random.uniform(PI / 3 if size < 13 else PI / 5, PI)
        return padded(degradations().circular_lowpass_kernel(omega, size, pad_to=False))
    return padded(
        degradations().random_mixed_kernels(
            FAMILIES, WEIGHTS, size, sigma, sigma, [-PI, PI], [0.5, 4], [1, 2], noise_range=None
        )
    )


def draw_sinc() -> np.ndarray:
    """The kernel of the last filter, 21 x 21: a low-pass, or nothing in one case of five."""
    if random.random() < 0.8:
        size = random.choice(range(7, 22, 2))
        return padded(degradations().circular_lowpass_kernel(random.uniform(PI / 3, PI), size, pad_to=False))
    return padded(np.ones((1, 1)))


def draw_factor(weights: list[float], span: list[float]) -> float:
    """How much larger an image becomes: up, down or not at all by `weights`."""
    direction = random.choices(["up", "down", "keep"], weights)[0]
    return {"up": random.uniform(1, span[1]), "down": random.uniform(span[0], 1), "keep": 1.0}[direction]


class Kernels(NamedTuple):
    """The kernels of a batch [n, 21, 21], on the host: of the two blurs and of the last filter."""

    first: torch.Tensor
    second: torch.Tensor
    last: torch.Tensor

    @classmethod
    def drawn(cls, count: int) -> Kernels:
        """All three for every sample, as the data loader draws them, whether or not the second blur is applied."""
        stacks = [
            [draw() for _ in range(count)]
            for draw in (lambda: draw_kernel([0.2, 3]), lambda: draw_kernel([0.2, 1.5]), draw_sinc)
        ]
        return cls(*(torch.from_numpy(np.stack(stack)).float() for stack in stacks))


class Reference:
    """At scale 4, on `device`; `sharpen` says whether the HR images are sharpened first."""

    def __init__(self, *, sharpen: bool, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.ops, self.tools = degradations(), img_process_util()
        self.usm = self.tools.USMSharp().to(self.device) if sharpen else None
        self.jpeg = diffjpeg().DiffJPEG(differentiable=False).to(self.device)

    @torch.no_grad()
    def __call__(self, batch: torch.Tensor, kernels: Kernels | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(hr, lr) on the device, of a batch [n, 3, h, w] in 0..1; lr [n, 3, h/4, w/4] has 8-bit values.

        h and w are multiples of 4. `kernels` are drawn here unless they are given, where their time is not to count.
        """
        kernels = Kernels.drawn(len(batch)) if kernels is None else kernels
        first, second, last = (kernel.to(self.device) for kernel in kernels)
        hr = batch.to(self.device).contiguous()
        hr = hr if self.usm is None else self.usm(hr)
        lr = (hr.shape[2] // 4, hr.shape[3] // 4)
        image = self.tools.filter2D(hr, first)
        factor = draw_factor([0.2, 0.7, 0.1], [0.15, 1.5])
        image = functional.interpolate(image, scale_factor=factor, mode=random.choice(MODES))
        image = self._compress(self._noise(image, [1, 30], [0.05, 3]))
        if random.random() < 0.8:
            image = self.tools.filter2D(image.contiguous(), second)
        factor = draw_factor([0.3, 0.4, 0.3], [0.3, 1.2])
        size = (int(lr[0] * factor), int(lr[1] * factor))
        image = functional.interpolate(image, size=size, mode=random.choice(MODES))
        image = self._noise(image, [1, 25], [0.05, 2.5])
        if random.random() < 0.5:
            image = self._compress(self._final(image, lr, last))
        else:
            image = self._final(self._compress(image), lr, last)
        return hr, torch.clamp((image * 255).round(), 0, 255) / 255

    def _noise(self, image: torch.Tensor, sigma: list[float], scale: list[float]) -> torch.Tensor:
        options = {"gray_prob": 0.4, "clip": True, "rounds": False}
        if random.random() < 0.5:
            return self.ops.random_add_gaussian_noise_pt(image, sigma_range=sigma, **options)
        return self.ops.random_add_poisson_noise_pt(image, scale_range=scale, **options)

    def _compress(self, image: torch.Tensor) -> torch.Tensor:
        quality = image.new_zeros(image.shape[0]).uniform_(30, 95)
        return self.jpeg(torch.clamp(image, 0, 1), quality=quality)

    def _final(self, image: torch.Tensor, lr: tuple[int, int], kernels: torch.Tensor) -> torch.Tensor:
        image = functional.interpolate(image, size=lr, mode=random.choice(MODES))
        return self.tools.filter2D(image.contiguous(), kernels)
