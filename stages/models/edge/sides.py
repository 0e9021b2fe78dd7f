"""How LR pixels, HR pixels and latents of one image lie over each other."""

from __future__ import annotations


def power_of_two(number: int, what: str) -> int:
    """n of number = 2^n. Raises ValueError, which names `what`, for any other number."""
    if number < 1 or number & (number - 1):
        raise ValueError(f"{what}: expected a power of two, got {number}")
    return number.bit_length() - 1


def halvings(scale: int, factor: int) -> int:
    """How often LR pixels are halved to the resolution of the latent: HR side / factor, where LR is HR side / scale.

    Raises ValueError where the latent is finer than LR, or the ratio is no power of two.
    """
    ratio, rest = divmod(factor, scale)
    if rest or not ratio:
        raise ValueError(
            f"latent factor {factor} at x{scale}: expected a multiple of the scale, so that the latent is no finer "
            "than LR; choose another autoencoder"
        )
    return power_of_two(ratio, f"latent factor {factor} at x{scale}")
