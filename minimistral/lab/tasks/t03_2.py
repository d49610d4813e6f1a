"""03.2: a whole head, with either pairing."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal
from minimistral.rope import rotate_halves, rotate_pairs


def my_rope(x: Tensor, theta: float) -> Tensor:
    T, D = x.shape
    frequency = theta ** (-torch.arange(0, D, 2) / D)  # (D/2,)
    angle = torch.arange(T)[:, None] * frequency  # (T, D/2)
    cos, sin = angle.cos(), angle.sin()
    even, odd = x[:, 0::2], x[:, 1::2]  # (T, D/2) each
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(1)  # (T, D)


def cases(draw: random.Random) -> list[tuple]:
    sizes = [(draw.randint(3, 6), 4), (draw.randint(4, 9), 6), (draw.randint(4, 9), 8), (5, 16)]
    return [(normal(draw, *size), float(draw.choice([50, 100, 500, 1e6]))) for size in sizes]


def _angles(x: Tensor, theta: float) -> Tensor:
    return torch.arange(len(x))[:, None] * theta ** (-torch.arange(0, x.shape[1], 2) / x.shape[1])


def _halves(x: Tensor, theta: float) -> Tensor:
    angle = _angles(x, theta)
    return rotate_halves(x, angle.cos(), angle.sin())


def _with(angles: Callable[[Tensor, float], Tensor]) -> tuple[Callable, Callable]:
    """The answers with these angles: neighbours paired, and halves."""

    def by(rotate: Callable) -> Callable:
        return lambda x, theta: rotate(x, angles(x, theta).cos(), angles(x, theta).sin())

    return by(rotate_pairs), by(rotate_halves)


def _half_exponent(x: Tensor, theta: float) -> Tensor:
    return torch.arange(len(x))[:, None] * theta ** (-torch.arange(x.shape[1] // 2) / x.shape[1])


def _grows(x: Tensor, theta: float) -> Tensor:
    return torch.arange(len(x))[:, None] * theta ** (torch.arange(0, x.shape[1], 2) / x.shape[1])


def _one_frequency(x: Tensor, theta: float) -> Tensor:
    return torch.arange(len(x))[:, None].expand(-1, x.shape[1] // 2).float()


def _from_one(x: Tensor, theta: float) -> Tensor:
    return (torch.arange(len(x))[:, None] + 1) * theta ** (-torch.arange(0, x.shape[1], 2) / x.shape[1])


def _backwards(x: Tensor, theta: float) -> Tensor:
    return -_angles(x, theta)


def _mixed(x: Tensor, theta: float) -> Tensor:
    angle = _angles(x, theta).repeat_interleave(2, dim=1)  # (T, D): a0 a0 a1 a1 …, which belongs to neighbours
    first, second = x.chunk(2, dim=1)
    return x * angle.cos() + torch.cat([-second, first], dim=1) * angle.sin()


def _mixed_other(x: Tensor, theta: float) -> Tensor:
    angle = torch.cat([_angles(x, theta)] * 2, dim=1)  # (T, D): a0 a1 … a0 a1 …, which belongs to halves
    swapped = torch.stack([-x[:, 1::2], x[:, 0::2]], dim=-1).flatten(1)
    return x * angle.cos() + swapped * angle.sin()


def _out_of_order(x: Tensor, theta: float) -> Tensor:
    angle = _angles(x, theta)
    even, odd = x[:, 0::2], x[:, 1::2]
    return torch.cat([even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], dim=1)


MIXED = (
    "The numbers are paired one way and the angles repeated the other way, so that the two numbers of a pair are turned by "
    "different angles. Neighbours need a0 a0 a1 a1 …, halves need a0 a1 … a0 a1 …: print the norm of each pair."
)
BY_ANGLE = {
    "exponent i/D": (
        _half_exponent,
        "Your slowest pair turns at about 1/√theta, not about 1/theta. Pair i turns at theta^(-2i/D): i runs over D/2 pairs.",
    ),
    "frequencies grow": (
        _grows,
        "Each pair turns faster than the one before. The exponent is negative: pair 0 is the fastest, at 1 radian a token.",
    ),
    "one frequency for all": (
        _one_frequency,
        "Every pair turns 1 radian a token. Then positions 0 and 44 look nearly alike (44 radians are 7.003 turns). Where does "
        "theta come in?",
    ),
    "theta ignored": (
        lambda x, theta: _angles(x, 10_000.0),
        "The base is an argument: here it is not always 10,000.",
    ),
    "positions from 1": (_from_one, "Positions count from 0: the first row comes out as it went in."),
    "turned the other way": (
        _backwards,
        "The pairs turn clockwise: (1, 0) should turn towards (0, 1). The minus sign stands in the first line.",
    ),
}
EXERCISE = Exercise(
    id="03.2",
    title="Turn a whole head",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=my_rope,
    also_right=(_halves,),
    mistakes=(
        *(Mistake(name, hint, wrong=wrong) for name, (angles, hint) in BY_ANGLE.items() for wrong in _with(angles)),
        Mistake("angles of the other pairing", MIXED, wrong=_mixed),
        Mistake("angles of the other pairing", MIXED, wrong=_mixed_other),
        Mistake(
            "taken as neighbours, put back as halves",
            "The numbers are right and stand in another order: taken from places 0, 2, 4 …, put back into the first half. "
            "A wq trained elsewhere would meet them shuffled. Put each back where it came from.",
            wrong=_out_of_order,
        ),
    ),
    nudge="How many pairs has a head of D numbers? Write down the frequencies for D = 4 and theta = 100: they are 1 and 1/10.",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `x` | (T, D) | the queries, or keys, of one head |
| `frequency` | (D/2,) | theta^(-2i/D) for pair i = 0, 1, … |
| `angle` | (T, D/2) | position (a column) times frequency (a row) |
| result | (T, D) | each pair turned by its own angle |
""",
    skeleton="""
def my_rope(x, theta):
    T, D = x.shape
    frequency = theta ** (-torch.arange(0, D, ____) / ____)
    angle = torch.arange(T)[:, None] * ____
    even, odd = x[:, 0::2], x[:, 1::2]      # or the first and the second half
    ...                                     # turn each pair, and put it back where it was
""",
    explanation="0, 2, 4 … over D are the exponents 2i/D. A column of positions times a row of frequencies is a table of angles. "
    "Then every pair is turned as in 03.1. Here neighbours make a pair; the halves are just as right.",
)
