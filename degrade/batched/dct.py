"""The 8 x 8 integer DCT of libjpeg (``islow``), as exact products with integer matrices.

libjpeg's fixed-point butterflies (Loeffler, Ligtenberg, Moschytz, ICASSP 1989, constants with 13 fractional bits) are
linear with integer coefficients up to one rounding shift at the end of each one-dimensional pass. So a pass is a matrix
product and a shift, and because no sum exceeds 2**53, float64 computes it without error, on any device, in any order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from degrade.batched.rounding import floor
from degrade.batched.upload import constant

_BITS = 13
_PASS1 = 2


def forward(blocks: Tensor, straight_through: bool) -> Tensor:
    """Coefficients times 8 of float64 integer `blocks` [..., 8 rows, 8 columns], transposed: [..., column, row]."""
    return _passes(blocks, _forward_matrices(blocks.device), straight_through)


def inverse(coefficients: Tensor, straight_through: bool) -> Tensor:
    """Samples [..., 8 rows, 8 columns] around 0 of dequantised `coefficients` as :func:`forward` lays them out."""
    return _passes(coefficients, _inverse_matrices(coefficients.device), straight_through)


def _passes(blocks: Tensor, matrices: Tensor, straight_through: bool) -> Tensor:
    """The last axis, then the one before it, which ends up last: libjpeg's order in both directions."""
    for matrix in matrices:
        lines = blocks.reshape(-1, 8)
        half = lines.new_full((1, 8), 0.5)  # libjpeg's shifts round half up
        blocks = floor(torch.addmm(half, lines, matrix), straight_through).reshape(blocks.shape).transpose(-1, -2)
    return blocks.transpose(-1, -2)


@constant
def _forward_matrices() -> Tensor:
    """[2, 8, 8] float64 for products from the right, one per pass, divided by the power of two of its shift."""
    return _shifted(_forward_pass(), (_BITS - _PASS1, _BITS + _PASS1))


@constant
def _inverse_matrices() -> Tensor:
    return _shifted(_inverse_pass(), (_BITS - _PASS1, _BITS + _PASS1 + 3))


def _shifted(lines: list[list[int]], shifts: tuple[int, int]) -> Tensor:
    matrix = torch.tensor(lines, dtype=torch.float64).T
    return torch.stack([matrix * 2.0**-shift for shift in shifts])


def _fixed(value: float) -> int:
    return int(value * (1 << _BITS) + 0.5)


def _rotations() -> dict[str, int]:
    """The constants of the odd part by the letters that :func:`_odd_part` gives them."""
    return {
        "a": _fixed(0.298631336),
        "b": _fixed(2.053119869),
        "c": _fixed(3.072711026),
        "d": _fixed(1.501321110),
        "e": _fixed(0.899976223),
        "f": _fixed(2.562915447),
        "g": _fixed(1.961570560),
        "h": _fixed(0.390180644),
        "i": _fixed(1.175875602),
    }


def _odd_part() -> list[list[int]]:
    """[4, 4]: outputs for the four odd inputs, in the order of frequency 7, 5, 3, 1 on both sides.

    The block is symmetric: forward it maps the differences of samples to coefficients, backward coefficients to them.
    """
    k = _rotations()
    # sums of the four inputs that the butterflies multiply: z1 = t0 + t3, z2 = t1 + t2, z3 = t0 + t2, z4 = t1 + t3
    z1, z2 = -k["e"], -k["f"]
    z3, z4 = k["i"] - k["g"], k["i"] - k["h"]
    five = k["i"]
    return [
        [k["a"] + z1 + z3, five, z3, z1 + five],
        [five, k["b"] + z2 + z4, z2 + five, z4],
        [z3, z2 + five, k["c"] + z2 + z3, five],
        [z1 + five, z4, five, k["d"] + z1 + z4],
    ]


def _even_part() -> list[list[int]]:
    """[4, 4]: rows are the frequencies 0, 2, 4, 6; columns the inputs 0..3 (sums of samples at i and 7 - i)."""
    one = 1 << _BITS
    root, minus, plus = _fixed(0.541196100), _fixed(1.847759065), _fixed(0.765366865)
    wide, narrow = root + plus, root - minus
    return [
        [one, one, one, one],
        [wide, root, -root, -wide],
        [one, -one, -one, one],
        [root, narrow, -narrow, -root],
    ]


def _forward_pass() -> list[list[int]]:
    """[8 frequencies, 8 samples]."""
    rows: list[list[int]] = [[0] * 8 for _ in range(8)]
    for place, line in enumerate(_even_part()):
        for sample in range(4):
            rows[2 * place][sample] = rows[2 * place][7 - sample] = line[sample]
    odd = _odd_part()
    for place, frequency in enumerate((7, 5, 3, 1)):
        for index in range(4):
            sample = 3 - index  # the first input is the difference of the two middle samples
            rows[frequency][sample] = odd[place][index]
            rows[frequency][7 - sample] = -odd[place][index]
    return rows


def _inverse_pass() -> list[list[int]]:
    """[8 samples, 8 frequencies]: the transposed flow graph, which has the same integer constants."""
    return [list(column) for column in zip(*_forward_pass(), strict=True)]
