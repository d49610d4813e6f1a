"""04.1: which key/value head each query head reads."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_shared(k: Tensor, n_heads: int) -> Tensor:
    return k.repeat_interleave(n_heads // k.shape[0], dim=0)  # (H, S, D)


def cases(draw: random.Random) -> list[tuple]:
    sizes = [(4, 2, 3, 2), (6, 2, 4, 3), (6, 3, 5, 2), (draw.choice([8, 12]), 4, 3, 4), (5, 1, 3, 2), (4, 4, 3, 2)]
    return [(normal(draw, n_kv_heads, n_tokens, width), n_heads) for n_heads, n_kv_heads, n_tokens, width in sizes]


def _tiled(k: Tensor, n_heads: int) -> Tensor:
    return k.repeat(n_heads // k.shape[0], 1, 1)


def _first_for_all(k: Tensor, n_heads: int) -> Tensor:
    return k[:1].repeat(n_heads, 1, 1)


def _tokens_mixed(k: Tensor, n_heads: int) -> Tensor:
    return k.repeat_interleave(n_heads // k.shape[0], dim=1).reshape(n_heads, *k.shape[1:])


def _numbers_mixed(k: Tensor, n_heads: int) -> Tensor:
    return k.repeat_interleave(n_heads // k.shape[0], dim=2).reshape(n_heads, *k.shape[1:])


def _features_mixed(k: Tensor, n_heads: int) -> Tensor:
    return k.repeat(1, 1, n_heads // k.shape[0]).reshape(n_heads, *k.shape[1:])


def _by_kv_heads(k: Tensor, n_heads: int) -> Tensor:
    return torch.stack([k[head // k.shape[0]] for head in range(n_heads)])


def _backwards(k: Tensor, n_heads: int) -> Tensor:
    return my_shared(k.flip(0), n_heads)


def _each_n_heads_times(inputs: tuple, got: object, expected: object) -> bool:
    k, n_heads = inputs
    return isinstance(got, Tensor) and got.ndim == 3 and got.shape[0] == k.shape[0] * n_heads and k.shape[0] > 1


RESHAPED = (
    "The shape is right, but numbers moved between tokens: a copy along another axis, cut by reshape, does not become a copy "
    "of a head. Repeat along the axis of the heads, the first one, and no reshape is needed."
)
EXERCISE = Exercise(
    id="04.1",
    title="Share the heads",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_shared,
    mistakes=(
        Mistake(
            "tiled",
            "This deals the key heads out like cards: 0, 1, 0, 1. Print which key head each query head gets. "
            "With 4 query heads and 2 key heads it should be 0, 0, 1, 1: neighbours share.",
            wrong=_tiled,
        ),
        Mistake(
            "first head for all", "Every query head got key head 0. That is right only for MQA.", wrong=_first_for_all
        ),
        Mistake("reshape mixes tokens", RESHAPED, wrong=_tokens_mixed),
        Mistake("reshape mixes tokens", RESHAPED, wrong=_numbers_mixed),
        Mistake("reshape mixes tokens", RESHAPED, wrong=_features_mixed),
        Mistake(
            "divided by the number of key heads",
            "A group has n_heads // n_kv_heads query heads, and query head h is in group h // (that number). "
            "You divided h by n_kv_heads: with 6 query and 2 key heads, head 5 would ask for key head 2, which is not there.",
            wrong=_by_kv_heads,
        ),
        Mistake(
            "backwards", "The order of the groups is turned round: query head 0 reads key head 0.", wrong=_backwards
        ),
        Mistake(
            "each head n_heads times",
            "There are too many heads: each key head is needed once for every query head of its *group*, so "
            "n_heads // n_kv_heads times.",
            seen=_each_n_heads_times,
        ),
    ),
    nudge="With 6 query heads and 2 key heads, write the list of the key head that each query head reads. How often does each "
    "number stand in it, and do equal numbers stand side by side?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `k` | (G, S, D) | one key of D numbers for each key head and each token |
| group | H / G | query heads that share one key head; they are neighbours |
| result | (H, S, D) | for each query head the keys that it reads |
""",
    skeleton="""
def my_shared(k, n_heads):
    n_kv_heads = k.shape[0]
    group = ____
    return torch.stack([k[____] for head in range(n_heads)])
""",
    explanation="Neighbouring query heads share: head h reads key head h // (H / G). `repeat_interleave` writes each head H / G "
    "times before the next; `repeat` writes the whole row of heads H / G times, which deals them out like cards.",
)
