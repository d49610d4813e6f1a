"""05.4, a bug hunt: which slots of the rolling buffer a token may read."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake


def mended_slots(position: int, n_slots: int) -> Tensor:
    slot = torch.arange(n_slots)
    return slot <= position


def given(position: int, n_slots: int) -> Tensor:
    slot = torch.arange(n_slots)
    return slot <= position % n_slots


def cases(draw: random.Random) -> list[tuple]:
    n_slots = draw.randint(3, 6)
    early = [(position, n_slots) for position in (0, 1, n_slots - 1)]
    late = [(n_slots, n_slots), (n_slots + 1, n_slots), (draw.randint(20, 90) * n_slots + 1, n_slots)]
    return [*early, *late, (0, 1), (draw.randint(1, 9), 1)]


def _all(position: int, n_slots: int) -> Tensor:
    return torch.ones(n_slots, dtype=torch.bool)


def _not_itself(position: int, n_slots: int) -> Tensor:
    visible = torch.arange(n_slots) < min(position, n_slots)
    visible[position % n_slots] = False
    return visible


def _one_short(position: int, n_slots: int) -> Tensor:
    return torch.arange(n_slots) < position


def _only_after_wrap(position: int, n_slots: int) -> Tensor:
    return _all(position, n_slots) if position > n_slots else given(position, n_slots)


EXERCISE = Exercise(
    id="05.4",
    title="Find the bug: the buffer that forgets when it wraps",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_slots,
    given=given,
    mistakes=(
        Mistake(
            "slot taken for position",
            "Before the buffer is full a slot's number is its token's position; after it wraps it is not. At position W "
            "the new token lies in slot 0, and the W - 1 tokens before it lie in the slots after that.",
            wrong=given,
        ),
        Mistake(
            "reads slots that were never written",
            "At position 0 only one slot has been written. The others still hold zeros, and softmax gives zeros a weight too.",
            wrong=_all,
        ),
        Mistake(
            "not itself",
            "The token's own slot is hidden: its key was written before it looks. A window of W counts the token itself.",
            wrong=_not_itself,
        ),
        Mistake(
            "one slot late",
            "After position p has been written, p + 1 slots are filled (until all are). Try position 0.",
            wrong=_one_short,
        ),
        Mistake(
            "wrong exactly at the wrap",
            "The position W itself is the first that wraps. Try position = n_slots.",
            wrong=_only_after_wrap,
        ),
    ),
    nudge="Take 4 slots and write the tokens 0, 1, 2, 3, 4, 5 into them on paper, each into slot p mod 4. After token 5: "
    "which slots hold one of the last 4 tokens?",
    shapes="""
| after position | slot 0 | slot 1 | slot 2 | slot 3 |
|---|---|---|---|---|
| 1 | 0 | 1 | – | – |
| 3 | 0 | 1 | 2 | 3 |
| 5 | 4 | 5 | 2 | 3 |
""",
    skeleton="""
def mended_slots(position, n_slots):
    slot = torch.arange(n_slots)
    return slot <= ____
""",
    explanation="A slot is visible as soon as it has been written once. Slots fill up from 0, so slot s has been written when "
    "s <= position; from position W - 1 on that is true for all. What a full buffer holds is always exactly the last W "
    "tokens, so nothing else needs to be hidden.",
)
