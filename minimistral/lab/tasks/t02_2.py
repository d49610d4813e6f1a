"""02.2: RMSNorm."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    mean_square = x.pow(2).mean(-1, keepdim=True)  # (..., 1)
    return weight * x / (mean_square + eps).sqrt()  # (..., C)


def cases(draw: random.Random) -> list[tuple]:
    """Small and large eps, so that its place shows; a mean that is not 0; T = C once, so that a wrong axis does not fail."""
    found = []
    for n_tokens, dim, eps in ((2, 4, 1e-5), (draw.randint(3, 5), 6, 0.5), (5, 5, 2.0), (3, draw.randint(7, 9), 1e-5)):
        found.append((normal(draw, n_tokens, dim) + 1, normal(draw, dim) + 2, eps))
    return found


def _mean_subtracted(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return my_rms_norm(x - x.mean(-1, keepdim=True), weight, eps)


def _eps_outside(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + eps)


def _eps_forgotten(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return my_rms_norm(x, weight, 0.0)


def _sum_for_mean(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).sum(-1, keepdim=True) + eps).sqrt()


def _no_root(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + eps)


def _over_tokens(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).mean(0, keepdim=True) + eps).sqrt()


def _over_everything(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).mean() + eps).sqrt()


def _no_weight(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return my_rms_norm(x, torch.ones_like(weight), eps)


def _square_of_mean(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.mean(-1, keepdim=True).pow(2) + eps).sqrt()


EXERCISE = Exercise(
    id="02.2",
    title="RMSNorm",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_rms_norm,
    mistakes=(
        Mistake(
            "mean subtracted",
            "You subtract the mean first: that is LayerNorm. RMSNorm leaves the mean where it is, and only divides.",
            wrong=_mean_subtracted,
        ),
        Mistake(
            "eps outside the root",
            "The epsilon is added to the mean square, *inside* the root. With eps = 0.5 the difference is plain to see.",
            wrong=_eps_outside,
        ),
        Mistake(
            "eps forgotten",
            "For ordinary vectors this is right. Where does `eps` come in? Try x = 0.",
            wrong=_eps_forgotten,
        ),
        Mistake(
            "sum for mean",
            "You divide by the root of the *sum* of squares, the vector's length. Then wider vectors get smaller entries: "
            "take the mean. (3, 4, 0, 0) should become (1.2, 1.6, 0, 0).",
            wrong=_sum_for_mean,
        ),
        Mistake(
            "root forgotten",
            "You divide by the mean square itself. Twice the input should give the same output: take the root.",
            wrong=_no_root,
        ),
        Mistake(
            "over the tokens",
            "Each token has a mean square of its own. You took it over the tokens, which hands numbers from one to another: "
            "use the last axis, and keepdim=True.",
            wrong=_over_tokens,
        ),
        Mistake(
            "one number for all tokens",
            "You took the mean over the whole tensor. Each token has a mean square of its own: mean(-1, keepdim=True).",
            wrong=_over_everything,
        ),
        Mistake(
            "weight forgotten",
            "The size is right. Multiply by `weight` at the end: each place has its own learnt factor.",
            wrong=_no_weight,
        ),
        Mistake(
            "mean before the square",
            "Square first, then take the mean. For (1, −1) your mean is 0.",
            wrong=_square_of_mean,
        ),
    ),
    nudge="Do it on paper for (3, 4, 0, 0): squares, their mean, its root, then divide. What is the mean square of your result?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `x` | (T, C) | a vector for each token |
| `x.pow(2).mean(-1, keepdim=True)` | (T, 1) | each token's mean square |
| `weight` | (C,) | a learnt factor for each place |
| result | (T, C) | |
""",
    skeleton="""
def my_rms_norm(x, weight, eps):
    mean_square = x.pow(2).____(-1, keepdim=True)
    return ____ * x / (mean_square + ____).____
""",
    explanation="One number a token: the mean of its squares. Epsilon keeps the root from 0, so that a vector of zeros stays "
    "zeros instead of nan; the weight then gives each place the size that training found useful.",
)
