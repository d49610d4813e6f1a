"""05.2: how far a stack of windows reaches."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def my_reach(n_layers: int, window: int) -> int:
    return n_layers * (window - 1) + 1


def cases(draw: random.Random) -> list[tuple]:
    some = [(draw.randint(2, 40), draw.randint(3, 5000)) for _ in range(4)]
    return [(draw.randint(2, 4), draw.randint(3, 4)), *some, (1, draw.randint(2, 9)), (draw.randint(2, 9), 1), (1, 1)]


def _product(n_layers: int, window: int) -> int:
    return n_layers * window


def _product_and_itself(n_layers: int, window: int) -> int:
    return n_layers * window + 1


def _power(n_layers: int, window: int) -> int:
    return window**n_layers


def _distance(n_layers: int, window: int) -> int:
    return n_layers * (window - 1)


def _one_layer_less(n_layers: int, window: int) -> int:
    return (n_layers - 1) * (window - 1) + 1


def _overlap_forgotten(n_layers: int, window: int) -> int:
    return window + (n_layers - 1) * window - 1


EXERCISE = Exercise(
    id="05.2",
    title="How many tokens can L layers reach?",
    minutes=5,
    difficulty=1,
    cases=cases,
    solution=my_reach,
    mistakes=(
        Mistake(
            "layers times window",
            "L · W counts a token twice at every hop: the last key of one layer is the first query of the next. "
            "Draw 2 layers with a window of 3, and count the lit tokens: 5, not 6.",
            wrong=_product,
        ),
        Mistake(
            "layers times window",
            "This is the count for a window that sees W keys besides the token itself. Here W counts the token too, so one "
            "layer with a window of 3 reaches 3 tokens. What does yours give for 1 layer?",
            wrong=_product_and_itself,
        ),
        Mistake(
            "grows as a power",
            "W^L counts the paths, not the tokens: many paths end at the same token. Each further layer adds only W - 1 tokens.",
            wrong=_power,
        ),
        Mistake(
            "distance, not tokens",
            "This is how far back the farthest token stands. How many tokens is that, with the token itself?",
            wrong=_distance,
        ),
        Mistake(
            "one layer forgotten",
            "One layer already reaches W tokens; yours gives 1 for it. Every layer takes one hop, the first one too.",
            wrong=_one_layer_less,
        ),
        Mistake(
            "overlap taken off once",
            "The overlap of one token happens at every hop between layers, not once. Try 3 layers with a window of 2 on paper.",
            wrong=_overlap_forgotten,
        ),
    ),
    nudge="Start with one layer: a window of 4 reaches 4 tokens. Now the oldest of these 4 has a window of its own. How many "
    "*new* tokens does that add?",
    shapes="""
| layers | window 4 reaches | new tokens |
|---|---|---|
| 0 | 1 (only itself) | |
| 1 | 4 | 3 |
| 2 | 7 | 3 |
| 3 | … | … |
""",
    skeleton="""
def my_reach(n_layers, window):
    new_tokens_a_layer = ____
    return 1 + ____
""",
    explanation="Before any layer a token knows itself: 1. Each layer looks W - 1 tokens further back than the one below. So "
    "L layers reach L·(W - 1) tokens back, and L·(W - 1) + 1 tokens with the token itself.",
)
