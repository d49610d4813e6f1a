"""11.4: another scale than the largest weight's, the one with the smallest error."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


def my_scales(groups: Tensor, bits: int) -> Tensor:
    largest = 2 ** (bits - 1) - 1
    full = groups.abs().amax(dim=1, keepdim=True) / largest  # (N, 1)
    scales = full * torch.tensor(SHARES)  # (N, 6)
    grid = scales[:, :, None]  # (N, 6, 1)
    codes = (groups[:, None] / grid).round().clamp(-largest, largest)  # (N, 6, group)
    errors = (codes * grid - groups[:, None]).square().sum(dim=2)  # (N, 6)
    return scales.gather(1, errors.argmin(dim=1, keepdim=True))[:, 0]


def cases(draw: random.Random) -> list[tuple]:
    """Groups with and without an outlier, so that different shares are best."""
    found = []
    for n_groups, size, bits in [(8, 16, 3), (12, 32, 4), (16, 16, 2)]:
        groups = normal(draw, n_groups, size) * (0.5 + torch.arange(n_groups)[:, None])
        groups[::2, 3] *= 1.5
        groups[: n_groups // 2, 0] = 3.2 * groups[: n_groups // 2].std(dim=1)
        found.append((groups, bits))
    return found


def _choose(
    groups: Tensor, bits: int, clamp: bool = True, power: float = 2, relative: bool = False, pick=None
) -> Tensor:
    largest = 2 ** (bits - 1) - 1
    scales = groups.abs().amax(dim=1, keepdim=True) / largest * torch.tensor(SHARES)
    grid = scales[:, :, None]
    codes = (groups[:, None] / grid).round()
    codes = codes.clamp(-largest, largest) if clamp else codes
    misses = (codes * grid - groups[:, None]).abs() / (grid if relative else 1)
    errors = misses.amax(dim=2) if power == float("inf") else misses.pow(power).sum(dim=2)
    best = errors.argmin(dim=1, keepdim=True) if pick is None else pick(errors)
    return scales.gather(1, best)[:, 0]


def _not_clamped(groups: Tensor, bits: int) -> Tensor:
    return _choose(groups, bits, clamp=False)


def _one_share(groups: Tensor, bits: int) -> Tensor:
    return _choose(groups, bits, pick=lambda errors: errors.sum(0).argmin().expand(len(errors), 1))


def _in_steps(groups: Tensor, bits: int) -> Tensor:
    return _choose(groups, bits, relative=True)


def _largest_error(groups: Tensor, bits: int) -> Tensor:
    return _choose(groups, bits, power=float("inf"))


def _not_squared(groups: Tensor, bits: int) -> Tensor:
    return _choose(groups, bits, power=1)


def _worst(groups: Tensor, bits: int) -> Tensor:
    return _choose(groups, bits, pick=lambda errors: errors.argmax(dim=1, keepdim=True))


def _as_before(groups: Tensor, bits: int) -> Tensor:
    return groups.abs().amax(dim=1) / (2 ** (bits - 1) - 1)


EXERCISE = Exercise(
    id="11.4",
    title="Change the experiment: cut the largest off",
    minutes=15,
    difficulty=3,
    cases=cases,
    solution=my_scales,
    mistakes=(
        Mistake(
            "as before",
            "This is the scale of the largest weight, for every group. Try the smaller ones too, and keep the best.",
            wrong=_as_before,
        ),
        Mistake(
            "not clamped",
            "Codes beyond the largest were allowed: with 4 bits there is no code 9. Then the smallest scale always looks best. "
            "Clamp the codes before you measure the error.",
            wrong=_not_clamped,
        ),
        Mistake(
            "one share for all",
            "All groups got the same share. A group with an outlier wants another than one without: the error of each by itself.",
            wrong=_one_share,
        ),
        Mistake(
            "error in steps",
            "The error was measured in steps of the grid, which are themselves of different size. Multiply the codes by their "
            "scale, and compare with the weights.",
            wrong=_in_steps,
        ),
        Mistake(
            "the largest error",
            "The smallest *largest* error was looked for, which never cuts much off. The sum of squares is meant.",
            wrong=_largest_error,
        ),
        Mistake(
            "not squared",
            "These are sums of sizes. The squares are meant: an output is a sum over many weights, and variances add.",
            wrong=_not_squared,
        ),
        Mistake("the worst", "This is the scale with the largest error. argmin.", wrong=_worst),
    ),
    nudge="Nine weights of size 1 and one of 3, with codes −1, 0 and 1. Which scale is better: 3, or half of it, 1.5? "
    "What does each make of the nine, and of the one?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `groups` | (N, group) | N groups of weights |
| scales | (N, 6) | the full scale of each times 1.0, 0.9, 0.8, 0.7, 0.6, 0.5 |
| codes | (N, 6, group) | rounded, and held within −largest … largest |
| errors | (N, 6) | Σ (code · scale − weight)² |
| result | (N,) | each group's scale with the smallest error |
""",
    skeleton="""
def my_scales(groups, bits):
    largest = 2 ** (bits - 1) - 1
    full = groups.abs().amax(dim=1, keepdim=True) / largest
    scales = full * torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    codes = (groups[:, None] / scales[:, :, None]).round().____
    errors = ____
    return scales.gather(1, errors.____)[:, 0]
""",
    explanation="Six candidates side by side in a new axis. Codes are held within the grid, so a small scale pays for the weights "
    "it cuts off; the squares weigh that against the finer steps for all the others.",
)
