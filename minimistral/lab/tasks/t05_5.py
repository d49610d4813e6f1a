"""05.5, changing the experiment: an edge where the learner wants it."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake
from minimistral.masks import window_mask


def my_edge(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return [(n_layers, distance // n_layers + 1) for n_layers in range(1, most_layers + 1) if distance % n_layers == 0]


def cases(draw: random.Random) -> list[tuple]:
    prime = draw.choice([7, 11, 13, 17])
    return [(12, 4), (draw.choice([18, 20, 24, 30]), draw.randint(4, 6)), (prime, draw.randint(3, 6)), (2, 5), (36, 1)]


def _edge(n_layers: int, window: int, n_tokens: int) -> int:
    """The farthest distance with a path, by matrix powers."""
    mask: Tensor = window_mask(n_tokens, window)
    paths = torch.linalg.matrix_power(mask.double(), n_layers)[-1]
    return n_tokens - 1 - int((paths > 0).nonzero()[0])


def _by_product(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return [(n, distance // n) for n in range(1, most_layers + 1) if distance % n == 0]


def _by_tokens(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return [(n, (distance - 1) // n + 1) for n in range(1, most_layers + 1) if (distance - 1) % n == 0]


def _only_reaches(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return [(n, -(-distance // n) + 1) for n in range(1, most_layers + 1)]


def _falls_short(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return [(n, distance // n + 1) for n in range(1, most_layers + 1)]


def _swapped(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return [(window, n_layers) for n_layers, window in my_edge(distance, most_layers)]


def _last_layer_forgotten(distance: int, most_layers: int) -> list[tuple[int, int]]:
    return my_edge(distance, most_layers - 1)


def _reached_not_met(inputs: tuple, got: object, expected: object) -> bool:
    """Every setting reaches the distance, and some reach past it."""
    distance, _ = inputs
    reaches = [n_layers * (window - 1) for n_layers, window in got]
    return bool(reaches) and min(reaches) >= distance and max(reaches) > distance


EXERCISE = Exercise(
    id="05.5",
    title="Move the edge",
    minutes=12,
    difficulty=3,
    cases=cases,
    solution=my_edge,
    mistakes=(
        Mistake(
            "layers times window",
            "L · W = distance is the article's formula. A window of W keys takes W - 1 steps back: "
            "put your first setting into reached_tokens of section 5a.",
            wrong=_by_product,
        ),
        Mistake(
            "tokens for distance",
            "This puts the edge one token too near. With the edge at distance d the model reaches d + 1 tokens.",
            wrong=_by_tokens,
        ),
        Mistake(
            "reaches past it",
            "These settings reach the distance, but some reach farther. The edge is to stand exactly there.",
            wrong=_only_reaches,
        ),
        Mistake(
            "falls short",
            "Where the distance is no multiple of the layers, no window puts the edge there: leave that number of layers out.",
            wrong=_falls_short,
        ),
        Mistake(
            "layers and window swapped",
            "The first number of a pair is the layers, the second the window.",
            wrong=_swapped,
        ),
        Mistake(
            "most_layers left out",
            "most_layers itself is allowed: range(1, n) ends at n - 1.",
            wrong=_last_layer_forgotten,
        ),
        Mistake(
            "reaches past it",
            "These settings reach the distance, but some reach farther. The edge is to stand exactly there.",
            seen=_reached_not_met,
        ),
    ),
    nudge="The edge stands at L · (W - 1). For an edge at 12: with 4 layers W - 1 must be 3. With 5 layers?",
    shapes="""
| layers | window | edge at |
|---|---|---|
| 1 | 13 | 12 |
| 2 | 7 | 12 |
| 3 | … | 12 |
| 5 | there is none | |
""",
    skeleton="""
def my_edge(distance, most_layers):
    settings = []
    for n_layers in range(1, ____):
        if distance % ____ == 0:
            settings.append((n_layers, ____))
    return settings
""",
    explanation="L · (W - 1) = distance has a whole W only where L divides the distance; then W = distance / L + 1. "
    "All of them put the edge at the same place, and they are not equally easy to train: with more layers the farthest token "
    "must be handed on more often.",
)
