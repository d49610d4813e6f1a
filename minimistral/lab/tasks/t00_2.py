"""00.2: temperature, and what it leaves alone."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_probabilities(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits / temperature, dim=-1)


def cases(draw: random.Random) -> list[tuple]:
    return [
        (2 * normal(draw, draw.randint(4, 9)), temperature) for temperature in (0.5, 0.8, 1.5, draw.uniform(2.0, 3.0))
    ]


def _multiplied(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits * temperature, dim=-1)


def _after_softmax(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits, dim=-1) / temperature


def _ignored(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits, dim=-1)


def _no_exponential(logits: Tensor, temperature: float) -> Tensor:
    return logits / temperature / (logits / temperature).sum()


def _no_softmax(logits: Tensor, temperature: float) -> Tensor:
    return logits / temperature


def _exponential_without_sum(logits: Tensor, temperature: float) -> Tensor:
    return torch.exp(logits / temperature)


EXERCISE = Exercise(
    id="00.2",
    title="Change the temperature",
    minutes=5,
    difficulty=1,
    cases=cases,
    solution=my_probabilities,
    mistakes=(
        Mistake(
            "multiplied",
            "A high temperature should bring the probabilities closer together; yours drives them apart. Divide by it.",
            wrong=_multiplied,
        ),
        Mistake(
            "divided after the softmax",
            "These do not add up to 1. The temperature belongs to the logits, before the softmax.",
            wrong=_after_softmax,
        ),
        Mistake(
            "temperature not used",
            "These are the probabilities at temperature 1, whatever is asked for.",
            wrong=_ignored,
        ),
        Mistake(
            "no softmax",
            "Logits divided by the temperature are still logits: some are negative. Softmax is missing.",
            wrong=_no_softmax,
        ),
        Mistake(
            "shares of the logits",
            "Shares of the logits themselves can be negative. Softmax takes the exponential of each first.",
            wrong=_no_exponential,
        ),
        Mistake(
            "not divided by the sum",
            "Almost: divide each exponential by the sum of all, so that they add up to 1.",
            wrong=_exponential_without_sum,
        ),
    ),
    nudge="The logits stay what they are: the model has finished its work. What would you do to them so that large "
    "differences become small?",
    shapes="""
| name | shape |
|---|---|
| `logits` | (V,) |
| `temperature` | one number above 0 |
| result | (V,), adding up to 1 |
""",
    skeleton="""
def my_probabilities(logits, temperature):
    return torch.softmax(logits ____ temperature, dim=____)
""",
    explanation="Dividing by a temperature above 1 shrinks the differences between logits, and softmax turns differences into "
    "ratios. The logits and their order stay: the likeliest piece is the same at every temperature.",
)
