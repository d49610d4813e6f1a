"""13.2: how much of a cache's hit rate is the order of the text, and how much is load."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake
from minimistral.offload import lru_hits


def order_gain(choices: Tensor, capacity: int, orders: Tensor) -> float:
    def rate(text: Tensor) -> float:
        hits, misses = lru_hits(text.tolist(), capacity)
        return hits / (hits + misses)

    return rate(choices) - sum(rate(choices[order]) for order in orders) / len(orders)


def cases(draw: random.Random) -> list[tuple[Tensor, int, Tensor]]:
    """Texts in runs, with a busy expert; and one whose order says nothing."""
    luck = torch.Generator().manual_seed(draw.randrange(2**31))

    def orders(n: int) -> Tensor:
        return torch.stack([torch.randperm(n, generator=luck) for _ in range(draw.randint(3, 5))])

    def pairs(n: int, stay: float) -> Tensor:
        weights = torch.tensor([6.0, 3, 1, 1, 1, 1, 1, 1])
        rows = [torch.multinomial(weights, 2, generator=luck)]
        while len(rows) < n:
            rows.append(rows[-1] if draw.random() < stay else torch.multinomial(weights, 2, generator=luck))
        return torch.stack(rows)

    n = draw.randint(30, 50)
    return [(pairs(n, 0.8), 3, orders(n)), (pairs(n, 0.6), 4, orders(n)), (pairs(20, 0.0), 2, orders(20))]


def _rate(choices: Tensor, capacity: int) -> float:
    hits, misses = lru_hits(choices.tolist(), capacity)
    return hits / (hits + misses)


def _load_too(choices: Tensor, capacity: int, orders: Tensor) -> float:
    return _rate(choices, capacity)


def _even_load(choices: Tensor, capacity: int, orders: Tensor) -> float:
    return _rate(choices, capacity) - capacity / 8


def _loads_alone(choices: Tensor, capacity: int, orders: Tensor) -> float:
    return sum(_rate(choices[order], capacity) for order in orders) / len(orders)


def _wrong_sign(choices: Tensor, capacity: int, orders: Tensor) -> float:
    return -order_gain(choices, capacity, orders)


def _one_order(choices: Tensor, capacity: int, orders: Tensor) -> float:
    return order_gain(choices, capacity, orders[:1])


def _hits(choices: Tensor, capacity: int, orders: Tensor) -> float:
    return order_gain(choices, capacity, orders) * choices.numel()


EXERCISE = Exercise(
    id="13.2",
    title="What does the order add?",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=order_gain,
    rtol=1e-4,
    atol=1e-4,
    mistakes=(
        Mistake(
            "load taken for order",
            "This is the whole hit rate. Most of it would be there in any order, because some experts are busy.",
            wrong=_load_too,
        ),
        Mistake(
            "an even load",
            "capacity / E is what luck finds if all experts are equally busy. They are not: shuffle instead.",
            wrong=_even_load,
        ),
        Mistake("the load alone", "This is the rate without order. What does order add to it?", wrong=_loads_alone),
        Mistake("wrong sign", "The other way round: as it is, less shuffled.", wrong=_wrong_sign),
        Mistake("one order", "One shuffle is luck of its own: take the mean over all.", wrong=_one_order),
        Mistake("hits, not their share", "A difference of hits. Divide by the number of uses.", wrong=_hits),
    ),
    nudge="What would the same choices give if the tokens came in another order?",
    shapes=(
        "| name | shape |\n|---|---|\n| `choices` | (T, K) expert ids |\n| `orders` | (R, T): `choices[order]` is the text in "
        "another order |\n| result | a number from −1 to 1 |"
    ),
    skeleton=(
        "def my_order_gain(choices, capacity, orders):\n    def rate(text):\n"
        "        hits, misses = lru_hits(text.tolist(), capacity)\n        return ____\n\n"
        "    return rate(choices) - ____"
    ),
    explanation="Shuffled whole tokens keep the load and each token's pair; what is lost is the order alone.",
)
