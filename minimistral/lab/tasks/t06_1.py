"""06.1: which position lies in which slot."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake


def my_slots(n_seen: int, n_slots: int) -> Tensor:
    held = torch.full((n_slots,), -1)
    for position in range(n_seen):
        held[position % n_slots] = position
    return held


def cases(draw: random.Random) -> list[tuple]:
    n_slots = draw.randint(3, 5)
    past = [(n_slots + 1, n_slots), (2 * n_slots - 1, n_slots), (draw.randint(3, 9) * n_slots + 2, n_slots)]
    return [(2, n_slots), (n_slots, n_slots), *past, (2 * n_slots, n_slots), (0, n_slots), (draw.randint(2, 9), 1)]


def _divided(n_seen: int, n_slots: int) -> Tensor:
    held = torch.full((n_slots,), -1)
    for position in range(n_seen):
        held[position // n_slots] = position
    return held


def _in_time_order(n_seen: int, n_slots: int) -> Tensor:
    held = torch.full((n_slots,), -1)
    last = torch.arange(max(0, n_seen - n_slots), n_seen)
    held[: len(last)] = last
    return held


def _empty_is_zero(n_seen: int, n_slots: int) -> Tensor:
    return my_slots(n_seen, n_slots).clamp(min=0)


def _one_more(n_seen: int, n_slots: int) -> Tensor:
    return my_slots(n_seen + 1, n_slots)


def _one_fewer(n_seen: int, n_slots: int) -> Tensor:
    return my_slots(max(0, n_seen - 1), n_slots)


def _never_overwritten(n_seen: int, n_slots: int) -> Tensor:
    return my_slots(min(n_seen, n_slots), n_slots)


def _newest_first(n_seen: int, n_slots: int) -> Tensor:
    held = torch.full((n_slots,), -1)
    last = torch.arange(n_seen - 1, max(0, n_seen - n_slots) - 1, -1)
    held[: len(last)] = last
    return held


EXERCISE = Exercise(
    id="06.1",
    title="What lies in which slot?",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_slots,
    mistakes=(
        Mistake(
            "divided, not the remainder",
            "Position // W says how many times the buffer has been filled. The slot is what is left over: position % W.",
            wrong=_divided,
        ),
        Mistake(
            "slots in order of time",
            "These are the right positions, laid out from oldest to newest. The buffer never moves a key: a position stays "
            "in slot position % W until it is overwritten. Put token W into its slot: which one is it?",
            wrong=_in_time_order,
        ),
        Mistake(
            "newest first",
            "These are the right positions, with the newest in slot 0. Nothing is ever moved: a position stays in its slot, "
            "position % W.",
            wrong=_newest_first,
        ),
        Mistake(
            "empty slots look like position 0",
            "A slot that was never written holds no position: -1 here. A 0 would say that the first token lies there. "
            "Try n_seen = 2 with 4 slots.",
            wrong=_empty_is_zero,
        ),
        Mistake(
            "one token too many",
            "After n tokens the newest has position n - 1, since positions begin at 0. Yours has written one more, so a full "
            "buffer has lost its oldest position too soon.",
            wrong=_one_more,
        ),
        Mistake(
            "one token too few",
            "The newest of n tokens has position n - 1, and it is stored too. Where is it? Try n_seen = 1.",
            wrong=_one_fewer,
        ),
        Mistake(
            "stops when it is full",
            "This buffer keeps the first W tokens for ever. A new token is written over the oldest.",
            wrong=_never_overwritten,
        ),
    ),
    nudge="Draw 4 boxes, and write the numbers 0, 1, 2, … one after another, each into box p mod 4, crossing out what was "
    "there. Stop after 6 numbers. What stands in the boxes, from left to right?",
    shapes="""
| `n_seen`, 4 slots | slot 0 | slot 1 | slot 2 | slot 3 |
|---|---|---|---|---|
| 0 | -1 | -1 | -1 | -1 |
| 2 | 0 | 1 | -1 | -1 |
| 4 | 0 | 1 | 2 | 3 |
| 6 | 4 | 5 | 2 | 3 |
""",
    skeleton="""
def my_slots(n_seen, n_slots):
    held = torch.full((n_slots,), -1)
    for position in range(____):
        held[____] = position
    ...
""",
    explanation="Writing the positions one after another is the definition itself. Later positions overwrite earlier ones "
    "with the same remainder, so what is left is always the last min(n, W) positions.",
)
