"""06.2: a ragged batch, stored."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_ragged_store(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, length in enumerate(lengths.tolist()):
        for position in range(length):
            stored[row, position % n_slots] = k[row, position]
    return stored


def cases(draw: random.Random) -> list[tuple]:
    def one(n_tokens: int, lengths: list[int], n_slots: int) -> tuple:
        return normal(draw, len(lengths), n_tokens, 3), torch.tensor(lengths), n_slots

    n_slots = draw.randint(3, 4)
    return [
        one(6, [6, 3, 1], n_slots),
        one(9, [9, draw.randint(5, 8), 2], n_slots),
        one(7, [7, n_slots, n_slots + 1], n_slots),
        one(5, [5, 0], 2),
        one(4, [2, 4], 8),
        one(3, [3, 2], 1),
    ]


def _padding_too(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    return my_ragged_store(k, torch.full_like(lengths, k.shape[1]), n_slots)


def _zeros_over_real(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    real = torch.arange(k.shape[1]) < lengths[:, None]
    return _padding_too(k * real[..., None], lengths, n_slots)


def _in_time_order(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, length in enumerate(lengths.tolist()):
        last = k[row, max(0, length - n_slots) : length]
        stored[row, : len(last)] = last
    return stored


def _first_ones(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    return my_ragged_store(k, lengths.clamp(max=n_slots), n_slots)


def _one_length(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    return my_ragged_store(k, torch.full_like(lengths, int(lengths.min())), n_slots)


def _left_padded(k: Tensor, lengths: Tensor, n_slots: int) -> Tensor:
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, length in enumerate(lengths.tolist()):
        for position in range(k.shape[1] - length, k.shape[1]):
            stored[row, position % n_slots] = k[row, position]
    return stored


EXERCISE = Exercise(
    id="06.2",
    title="A ragged batch",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=my_ragged_store,
    mistakes=(
        Mistake(
            "padding is stored",
            "The short rows hold keys that belong to no token: the padding behind a row's end was written too, over real "
            "keys. Each row ends at its own length.",
            wrong=_padding_too,
        ),
        Mistake(
            "padding erases",
            "Real keys of the short rows are missing, as if the last columns of the batch had been written for every row, zeros "
            "where there was padding. A row of 3 in a batch of 9 has its newest keys in columns 0 to 2: each row's last S before "
            "its *own* end.",
            wrong=_zeros_over_real,
        ),
        Mistake(
            "slots in order of time",
            "The right keys, but packed from slot 0. Position p lies in slot p mod S in every row, else the next token "
            "overwrites the wrong one.",
            wrong=_in_time_order,
        ),
        Mistake(
            "keeps the oldest",
            "A row longer than the buffer keeps its *last* S tokens; you kept its first.",
            wrong=_first_ones,
        ),
        Mistake(
            "one length for all",
            "All rows were cut to the shortest. Each row has a length, and a position, of its own.",
            wrong=_one_length,
        ),
        Mistake(
            "padding in front",
            "You took each row's tokens from its right end. These rows are padded on the right: the real tokens come first.",
            wrong=_left_padded,
        ),
    ),
    nudge="Take one short row out of the batch and store it alone. The batch must hold the same for that row. "
    "Which columns of k do you need?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `k` | (B, T, D) | keys of B texts, padded on the right to T |
| `lengths` | (B,) | how many of each row's T are real; 0 is allowed |
| result | (B, S, D) | row b's position p in slot p mod S; zeros where nothing was written |
""",
    skeleton="""
def my_ragged_store(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, length in enumerate(lengths.tolist()):
        for position in range(____):
            stored[row, ____] = k[row, position]
    ...
""",
    explanation="A row of a batch must get what it would get alone: its own length, its own positions, its own slots. The "
    "library does the same without the inner loop (`LayerCache.write`): it picks the (row, step) pairs that are real and "
    "among the last S, and writes all of them at once.",
)
