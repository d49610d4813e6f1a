"""03.1: one pair of numbers, turned by its position."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_rotate(x: Tensor, frequency: float) -> Tensor:
    angle = torch.arange(len(x)) * frequency  # (T,)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([x[:, 0] * cos - x[:, 1] * sin, x[:, 0] * sin + x[:, 1] * cos], dim=1)  # (T, 2)


def cases(draw: random.Random) -> list[tuple]:
    quarter = (torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), round(draw.uniform(0.4, 1.5), 2))
    some = [(normal(draw, draw.randint(4, 9), 2), round(draw.uniform(0.05, 1.0), 3)) for _ in range(3)]
    return [quarter, *some, (normal(draw, 1, 2), 1.0)]


def _turn(x: Tensor, angle: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(x.contiguous()) * torch.polar(torch.ones(len(x)), angle.float()))


def _clockwise(x: Tensor, frequency: float) -> Tensor:
    return _turn(x, -torch.arange(len(x)) * frequency)


def _from_one(x: Tensor, frequency: float) -> Tensor:
    return _turn(x, (torch.arange(len(x)) + 1) * frequency)


def _all_alike(x: Tensor, frequency: float) -> Tensor:
    return _turn(x, torch.full((len(x),), frequency))


def _overwritten(x: Tensor, frequency: float) -> Tensor:
    angle = torch.arange(len(x)) * frequency
    first = x[:, 0] * angle.cos() - x[:, 1] * angle.sin()
    return torch.stack([first, first * angle.sin() + x[:, 1] * angle.cos()], dim=1)


def _swapped(x: Tensor, frequency: float) -> Tensor:
    return _turn(x, torch.pi / 2 - torch.arange(len(x)) * frequency)


def _degrees(x: Tensor, frequency: float) -> Tensor:
    return _turn(x, torch.arange(len(x)) * frequency * torch.pi / 180)


def _stretched(x: Tensor, frequency: float) -> Tensor:
    angle = torch.arange(len(x)) * frequency
    return torch.stack([x[:, 0] * angle.cos(), x[:, 1] * angle.sin()], dim=1)


def _added(x: Tensor, frequency: float) -> Tensor:
    angle = torch.arange(len(x)) * frequency
    return x + torch.stack([angle.cos(), angle.sin()], dim=1)


EXERCISE = Exercise(
    id="03.1",
    title="Turn one pair by its position",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_rotate,
    mistakes=(
        Mistake(
            "turned the other way",
            "The pair turns clockwise. A score would still depend on the distance alone, but a trained model's would come out "
            "wrong: the papers and every checkpoint turn (1, 0) towards (0, 1). The minus sign stands in the first line.",
            wrong=_clockwise,
        ),
        Mistake(
            "positions from 1",
            "Positions count from 0, so the first token is not turned at all: row 0 comes out as it went in.",
            wrong=_from_one,
        ),
        Mistake(
            "every token by the same angle",
            "All rows are turned alike, and then no score changes at all. The angle is position times frequency.",
            wrong=_all_alike,
        ),
        Mistake(
            "first number overwritten",
            "The second line needs the first number as it was *before* the turn. Keep the old one, or compute both "
            "before you store any.",
            wrong=_overwritten,
        ),
        Mistake(
            "sine and cosine swapped", "At angle 0 nothing may move, and cos 0 is 1. Look at row 0.", wrong=_swapped
        ),
        Mistake(
            "degrees", "torch's cos and sin take radians, and the frequency is in radians too: no 180.", wrong=_degrees
        ),
        Mistake(
            "stretched, not turned",
            "Each number was multiplied on its own. A turn mixes the two: print x.norm(dim=1) before and after; it may not change.",
            wrong=_stretched,
        ),
        Mistake(
            "added, not turned",
            "That is the older way: a vector added to the token's own. Here the pair itself is turned.",
            wrong=_added,
        ),
    ),
    nudge="Turn (1, 0) by an angle a on paper: where does its tip go? And (0, 1)? Any pair (x0, x1) is x0 times the first "
    "plus x1 times the second.",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `x` | (T, 2) | one pair of numbers for each token |
| `angle` | (T,) | position · frequency, in radians |
| `x[:, 0] * angle.cos()` | (T,) | one of four products |
| result | (T, 2) | the turned pairs |
""",
    skeleton="""
def my_rotate(x, frequency):
    angle = torch.arange(len(x)) * ____
    cos, sin = angle.cos(), angle.sin()
    first = x[:, 0] * ____ - x[:, 1] * ____
    second = x[:, 0] * ____ + x[:, 1] * ____
    ...
""",
    explanation="(1, 0) turns to (cos, sin) and (0, 1) to (-sin, cos). So x0 goes to x0·(cos, sin), x1 to x1·(-sin, cos), and "
    "the two add up.",
)
