"""06.3, a bug hunt: the past of a wrapped buffer, in order of time."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_past(keys: Tensor, n_seen: int) -> Tensor:
    n_slots = len(keys)
    n_past = min(n_seen, n_slots)
    slots = [position % n_slots for position in range(n_seen - n_past, n_seen)]
    return keys[torch.tensor(slots, dtype=torch.int64)]


def given(keys: Tensor, n_seen: int) -> Tensor:
    n_slots = len(keys)
    n_past = min(n_seen, n_slots)
    slots = list(range(n_past))
    return keys[torch.tensor(slots, dtype=torch.int64)]


def cases(draw: random.Random) -> list[tuple]:
    def one(n_seen: int, n_slots: int) -> tuple:
        keys = torch.zeros(n_slots, 3)
        keys[:n_seen] = normal(draw, min(n_seen, n_slots), 3)
        return keys, n_seen

    n = draw.randint(4, 6)
    return [
        one(2, n),
        one(n, n),
        one(n + 1, n),
        one(draw.randint(3, 9) * n + 2, n),
        one(3 * n, n),
        one(7, 1),
        one(0, n),
    ]


def _rolled(keys: Tensor, shift: int, n_seen: int) -> Tensor:
    return keys.roll(shift, 0)[: min(n_seen, len(keys))]


def _wrong_way(keys: Tensor, n_seen: int) -> Tensor:
    return _rolled(keys, n_seen if n_seen > len(keys) else 0, n_seen)


def _rolls_before_full(keys: Tensor, n_seen: int) -> Tensor:
    return _rolled(keys, -n_seen, n_seen)


def _newest_is_oldest(keys: Tensor, n_seen: int) -> Tensor:
    return _rolled(keys, 1 - n_seen if n_seen > len(keys) else 0, n_seen)


def _one_too_soon(keys: Tensor, n_seen: int) -> Tensor:
    return _rolled(keys, -n_seen - 1 if n_seen >= len(keys) else 0, n_seen)


def _newest_first(keys: Tensor, n_seen: int) -> Tensor:
    return mended_past(keys, n_seen).flip(0)


def _always_all(keys: Tensor, n_seen: int) -> Tensor:
    return keys.roll(-n_seen if n_seen > len(keys) else 0, 0)


def _only_new_lap(keys: Tensor, n_seen: int) -> Tensor:
    return keys[: n_seen % len(keys) or min(n_seen, len(keys))]


def _is_cut(inputs: tuple, got: object, expected: object) -> bool:
    keys, n_seen = inputs
    return (
        n_seen > len(keys) > 1
        and isinstance(got, Tensor)
        and got.shape == _only_new_lap(keys, n_seen).shape != expected.shape
    )


def _has_empty(inputs: tuple, got: object, expected: object) -> bool:
    keys, n_seen = inputs
    return 0 < n_seen < len(keys) and isinstance(got, Tensor) and got.shape == keys.shape


EXERCISE = Exercise(
    id="06.3",
    title="Find the bug: a chunk after the wrap",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=mended_past,
    given=given,
    mistakes=(
        Mistake(
            "still in the order of the slots",
            "Before the wrap slot order is time order, and after it is not: with 4 slots and 5 tokens seen, slot 0 holds "
            "position 4, the newest. A mask counts columns, so the oldest must come first.",
            wrong=given,
        ),
        Mistake(
            "turned the wrong way",
            "All keys are there, moved round the wrong way. The oldest lies in slot n_seen % S, and must come to index 0.",
            wrong=_wrong_way,
        ),
        Mistake(
            "turned before it is full",
            "Until the buffer is full the oldest key lies in slot 0. With 2 tokens in 4 slots nothing may be moved.",
            wrong=_rolls_before_full,
        ),
        Mistake(
            "the newest comes first",
            "Index 0 is the newest key, and only then comes the oldest. The newest was written into slot (n_seen - 1) % S; "
            "the oldest is in the slot after it.",
            wrong=_newest_is_oldest,
        ),
        Mistake(
            "turned one slot too far",
            "The second oldest comes first and the oldest last. Look at n_seen = S: it is just full, nothing has wrapped.",
            wrong=_one_too_soon,
        ),
        Mistake(
            "newest first",
            "This is time order backwards. The mask expects the oldest at index 0.",
            wrong=_newest_first,
        ),
        Mistake(
            "empty slots are returned",
            "With 2 tokens seen, 2 keys are the past; the other slots were never written. Return min(n_seen, S) of them.",
            wrong=_always_all,
            seen=_has_empty,
        ),
        Mistake(
            "only this lap",
            "You return only what was written since the last wrap. The slots after that still hold keys of the lap before: "
            "S keys in all.",
            wrong=_only_new_lap,
            seen=_is_cut,
        ),
    ),
    nudge="4 slots, 6 tokens seen: write down what lies in slots 0, 1, 2, 3. Now write the same four positions from oldest to "
    "newest. In which slot do you begin?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `keys` | (S, D) | the buffer; position p lies in slot p mod S |
| `n_seen` | int | tokens seen so far; the newest has position n_seen - 1 |
| result | (min(n_seen, S), D) | the same keys, oldest first |
""",
    skeleton="""
def mended_past(keys, n_seen):
    n_slots = len(keys)
    n_past = min(n_seen, n_slots)
    slots = [____ for position in range(____, n_seen)]
    ...                                          # the rest was right
""",
    explanation="The past is the positions n_seen - n_past … n_seen - 1, in this order; each lies in slot position % S. For a "
    "single written token the order would not matter, since it sees them all. A chunk has a mask, and the mask is about positions.",
    report="Reported for ollama's rotating cache: joining a wrapped buffer with new keys without putting it in order of time "
    "first (ollama/ollama#14912), and later keeping only the newest lap of it (ollama/ollama#15591). transformers rolled its "
    "sliding cache a step too soon, as soon as the length reached the window (huggingface/transformers#37574).",
)
