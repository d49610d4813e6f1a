"""05.2: the least number of layers for a distance."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def my_layers_for(distance: int, window: int) -> int:
    hop = window - 1
    return -(-distance // hop)


def cases(draw: random.Random) -> list[tuple]:
    window = draw.randint(3, 9)
    hops = draw.randint(3, 6)
    exact = hops * (window - 1)
    some = [(draw.randint(30, 200_000), draw.randint(3, 5_000)) for _ in range(3)]
    return [
        (12, 4),
        (exact, window),
        (exact + 1, window),
        (exact - 1, window),
        *some,
        (0, window),
        (1, 2),
        (window, window),
    ]


def _by_window(distance: int, window: int) -> int:
    return -(-distance // window)


def _tokens_by_window(distance: int, window: int) -> int:
    return -(-(distance + 1) // window)


def _rounded_down(distance: int, window: int) -> int:
    return distance // (window - 1)


def _always_one_more(distance: int, window: int) -> int:
    return distance // (window - 1) + 1


def _tokens_for_distance(distance: int, window: int) -> int:
    return -(-(distance - 1) // (window - 1))


def _not_rounded(distance: int, window: int) -> float:
    return distance / (window - 1)


def _power(distance: int, window: int) -> int:
    n_layers = 0
    while window**n_layers < distance + 1:
        n_layers += 1
    return n_layers


ONE_HOP = (
    "One layer with a window of 4 reaches 3 back, not 4: the token itself takes one of the 4 keys. "
    "How far back does your answer for distance 30 and window 4 reach?"
)
EXERCISE = Exercise(
    id="05.2",
    title="How many layers does it take?",
    minutes=6,
    difficulty=2,
    cases=cases,
    solution=my_layers_for,
    mistakes=(
        Mistake("a hop of W", ONE_HOP, wrong=_by_window),
        Mistake("a hop of W", ONE_HOP, wrong=_tokens_by_window),
        Mistake(
            "rounded down",
            "This stops one layer short whenever the distance is no multiple of the hop. Try distance 13 with a window of 4: "
            "4 layers reach 12 back.",
            wrong=_rounded_down,
        ),
        Mistake(
            "a layer too many",
            "Right between the edges, one too many on them. Distance 12 with a window of 4 takes exactly 4 hops, not 5; "
            "and a token knows itself without any layer.",
            wrong=_always_one_more,
        ),
        Mistake(
            "tokens and distance mixed",
            "The distance is how far back the token stands. Reaching d back means reaching d + 1 tokens, not d.",
            wrong=_tokens_for_distance,
        ),
        Mistake(
            "not rounded",
            "There is no part of a layer: round up to the next whole number.",
            wrong=_not_rounded,
        ),
        Mistake(
            "grows as a power",
            "W^L counts paths. Each further layer adds only W - 1 tokens to the reach, so the layers grow with the distance.",
            wrong=_power,
        ),
    ),
    nudge="A window of 4: how far back does 1 layer reach? And 2? Which is the first number of layers that reaches 7 back?",
    shapes="""
| layers | window 4 reaches back |
|---|---|
| 0 | 0 (only itself) |
| 1 | 3 |
| 2 | 6 |
| 3 | … |
""",
    skeleton="""
import math

def my_layers_for(distance, window):
    hop = ____
    return math.ceil(____ / ____)
""",
    explanation="Turn section 5a's formula round: L layers reach L·(W - 1) back, so L must be at least the distance divided by "
    "W - 1, rounded up. `-(-a // b)` rounds a / b up with whole numbers alone; math.ceil(a / b) does it too, as long as the "
    "numbers are not enormous. For Mistral's window of 4,096, 32 layers are the least for 131,040 back.",
)
