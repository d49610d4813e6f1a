"""11.3, a bug hunt: scales of rows laid along the columns, which a square matrix lets pass."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_linear(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    weight = codes.float() * largest[:, None] / 127  # (out, in)
    return x @ weight.T  # (N, out)


def given(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    weight = codes.float() * largest / 127  # (out, in)
    return x @ weight.T  # (N, out)


def cases(draw: random.Random) -> list[tuple]:
    """Square matrices, as in the report: nothing fails."""
    found = []
    for n_tokens, width in [(2, 3), (3, 5), (5, 8)]:
        weight = normal(draw, width, width) * torch.arange(1, width + 1)[:, None]
        largest = weight.abs().amax(dim=1)
        codes = (weight / largest[:, None] * 127).round().to(torch.int8)
        found.append((normal(draw, n_tokens, width), codes, largest))
    return found


def _both_axes(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    return x @ (codes.float() * largest * largest[:, None] / 127).T


def _transposed(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    return x @ (codes.float() * largest[:, None] / 127)


def _scaled_then_transposed(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    return x @ (codes.float() * largest / 127)


def _no_127(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    return 127 * mended_linear(x, codes, largest)


def _by_128(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    return mended_linear(x, codes, largest) * 127 / 128


def _one_scale(x: Tensor, codes: Tensor, largest: Tensor) -> Tensor:
    return x @ (codes.float() * largest.max() / 127).T


EXERCISE = Exercise(
    id="11.3",
    title="Find the bug: it only looks right when it is square",
    minutes=8,
    difficulty=2,
    cases=cases,
    solution=mended_linear,
    given=given,
    mistakes=(
        Mistake(
            "scales along the columns",
            "Row i is still not multiplied by largest[i]. (out, in) * (out,) lines up the last axes: largest[j] meets column j. "
            "To scale x, or a column, comes to the same. Which axis is missing?",
            wrong=given,
        ),
        Mistake(
            "scaled along both axes", "Now rows and columns are scaled. Each scale once, to its row.", wrong=_both_axes
        ),
        Mistake(
            "transposed",
            "The rows are scaled rightly, but x meets them as columns now. weight is (out, in), x (N, in): the .T was right.",
            wrong=_transposed,
        ),
        Mistake(
            "transposed, and the old bug",
            "Leaving out .T does not mend the scale, and costs the product. Put it back, and look at the multiplication.",
            wrong=_scaled_then_transposed,
        ),
        Mistake(
            "127 lost", "This is 127 times too large: the largest code stands for the largest weight.", wrong=_no_127
        ),
        Mistake(
            "128 for 127",
            "Everything is a little small: code 127, not 128, stands for the row's largest.",
            wrong=_by_128,
        ),
        Mistake(
            "one scale for all",
            "That silences the question of axes, but each row was divided by its own largest, not by the largest of all.",
            wrong=_one_scale,
        ),
    ),
    nudge="Make codes of (2, 2) ones, and largest = (1, 10). Print the product. Which numbers became large: a row, or a column?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `x` | (N, in) | tokens |
| `codes` | (out, in) | int8, −127 to 127; here out = in |
| `largest` | (out,) | the largest size in each row of the true weights |
| result | (N, out) | x times the true weights, nearly |
""",
    skeleton="""
def mended_linear(x, codes, largest):
    weight = codes.float() * largest[____] / 127
    return x @ weight.T
""",
    explanation="Broadcasting lines up the last axes, so (out,) beside (out, in) runs along the columns, and only a matrix that "
    "is not square complains. With its own axis, (out, 1), each scale meets its row. "
    "Or scale the output: (x @ codes.T) * largest / 127.",
    report="It was published so: a blog post about 8-bit matrices gave this line, and its example matrix was square. "
    "https://github.com/huggingface/blog/issues/1126",
)
