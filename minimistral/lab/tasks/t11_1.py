"""11.1: rows of weights to whole numbers and one scale a row."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_quantize(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    largest = 2 ** (bits - 1) - 1  # 7 for 4 bits, 127 for 8
    scale = weight.abs().amax(dim=1) / largest  # (out,)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a row of zeros
    return (weight / scale[:, None]).round(), scale


def cases(draw: random.Random) -> list[tuple]:
    """Rows of different sizes, most often with the largest number below zero; the third has a row of zeros."""
    found = []
    for n_out, n_in, bits in [(2, 4, 4), (5, 16, 8), (4, 8, 4), (6, 12, 3)]:
        weight = normal(draw, n_out, n_in) * torch.arange(1, n_out + 1)[:, None]
        weight[:, 0] = weight[:, 0].abs()
        weight[:, 1] = -weight.abs().amax(dim=1) * (1.1 + 0.3 * draw.random())
        found.append((weight, bits))
    found[2][0][1] = 0.0
    return found


def _safe(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _per_column(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    scale = _safe(weight.abs().amax(dim=0) / (2 ** (bits - 1) - 1))
    return (weight / scale).round(), scale


def _one_for_all(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    scale = (weight.abs().max() / (2 ** (bits - 1) - 1)).expand(len(weight))
    return (weight / scale[:, None]).round(), scale


def _truncated(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    _, scale = my_quantize(weight, bits)
    return (weight / scale[:, None]).trunc(), scale


def _floored(inputs: tuple, got: tuple, expected: tuple) -> bool:
    """Every code is the next whole number below, up to rounding where a weight lies on its grid."""
    above = inputs[0] / expected[1][:, None] - torch.as_tensor(got[0])
    return bool((above > -1e-3).all() and (above < 1 + 1e-3).all() and (above > 0.51).any())


def _to_minus_128(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    largest = 2 ** (bits - 1)
    scale = _safe(weight.abs().amax(dim=1) / largest)
    return (weight / scale[:, None]).round().clamp(-largest, largest - 1), scale


def _sign_forgotten(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    scale = _safe(weight.amax(dim=1) / (2 ** (bits - 1) - 1))
    return (weight / scale[:, None]).round(), scale


def _all_codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    scale = _safe(weight.abs().amax(dim=1) / (2**bits - 1))
    return (weight / scale[:, None]).round(), scale


def _weights_again(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    codes, scale = my_quantize(weight, bits)
    return codes * scale[:, None], scale


def _zero_row(inputs: tuple, got: tuple, expected: tuple) -> bool:
    """In a row of zeros the scale is 0, or so near that it makes no difference, or something is NaN."""
    empty = (inputs[0] == 0).all(dim=1)
    codes, scale = torch.as_tensor(got[0]).double(), torch.as_tensor(got[1]).double().flatten()
    others = scale[~empty] - expected[1][~empty]
    return (
        bool(empty.any())
        and bool((scale[empty] < 1e-4).any() or codes.isnan().any())
        and bool(others.abs().max() < 1e-3)
    )


def _as_a_column(inputs: tuple, got: tuple, expected: tuple) -> bool:
    return torch.as_tensor(got[1]).shape == (len(inputs[0]), 1)


EXERCISE = Exercise(
    id="11.1",
    title="Quantize",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_quantize,
    mistakes=(
        Mistake(
            "a row of zeros",
            "One row holds nothing but zeros: its largest number is 0, so its scale is 0, and 0 ÷ 0 is not a number (a cast to "
            "int8 may hide that). Real weights have such rows. Give it the scale 1; then its codes are 0.",
            seen=_zero_row,
        ),
        Mistake(
            "scale in a column",
            "The scale has the shape (out, 1). It is wanted as (out,), one number a row. Add the axis where you divide: "
            "scale[:, None].",
            seen=_as_a_column,
        ),
        Mistake(
            "a scale a column",
            "There is a scale for each column. Each row makes one output, and gets one scale: which axis does amax take away?",
            wrong=_per_column,
        ),
        Mistake(
            "one scale for all",
            "All rows have the same scale, that of the largest row. A row of small weights then has few codes left. Each its own.",
            wrong=_one_for_all,
        ),
        Mistake(
            "truncated",
            "The digits behind the point were cut off: 2.9 became 2. A cast to int8 does that too. Round first: the error of a "
            "weight is then at most half a step, not a whole one.",
            wrong=_truncated,
        ),
        Mistake(
            "rounded down",
            "Each number went down to the next whole one, so all errors point the same way and add up in a sum. "
            "The nearest is meant.",
            seen=_floored,
        ),
        Mistake(
            "down to -128",
            "This uses one code more below zero (−128, or −8) than above, and divides by 128, or 8. The largest positive weight "
            "then has no code. Here both ends are 2^(bits−1) − 1: 127, or 7.",
            wrong=_to_minus_128,
        ),
        Mistake(
            "sign forgotten",
            "The scale was made from the largest weight, and the largest in size is below zero here: its code falls off the grid. "
            "Print the codes' smallest: abs() before the maximum.",
            wrong=_sign_forgotten,
        ),
        Mistake(
            "all codes on one side",
            "Codes reach twice too far: with 4 bits there are 16 codes in all, and half of them are for negative weights.",
            wrong=_all_codes,
        ),
        Mistake(
            "multiplied out again",
            "These are rounded weights, no codes: the scale was multiplied in again. The codes are whole numbers.",
            wrong=_weights_again,
        ),
    ),
    nudge="On paper: the row 0.7, −1.4, 0.1 with 4 bits. Codes go from −7 to 7. What is one step worth, so that −1.4 is code −7?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `weight` | (out, in) | a row an output |
| scale | (out,) | what one step of the row is worth: its largest size ÷ the largest code |
| codes | (out, in) | whole numbers from −(2^(bits−1) − 1) to 2^(bits−1) − 1 |
""",
    skeleton="""
def my_quantize(weight, bits):
    largest = ____
    scale = weight.abs().amax(dim=____) / largest
    scale = torch.where(scale > 0, scale, ____)
    return (weight / ____).round(), scale
""",
    explanation="The weight that is largest in size gets the largest code, the others the nearest multiple of the same step. "
    "A row of zeros has no size of its own; any scale but 0 will do, and 1 is agreed here.",
)
