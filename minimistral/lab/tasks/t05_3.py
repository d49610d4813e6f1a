"""05.3, a bug hunt: attention that sees one key more than the buffer holds."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    position = torch.arange(len(q))
    back = position[:, None] - position[None, :]  # (T, T)
    hidden = (back < 0) | (back >= window)
    scores = q @ k.T / q.shape[-1] ** 0.5  # (T, T)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return weights @ v  # (T, D)


def given(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    position = torch.arange(len(q))
    back = position[:, None] - position[None, :]  # (T, T)
    hidden = (back < 0) | (back > window)
    scores = q @ k.T / q.shape[-1] ** 0.5  # (T, T)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return weights @ v  # (T, D)


def cases(draw: random.Random) -> list[tuple]:
    sizes = [(draw.randint(6, 12), draw.randint(2, 4)) for _ in range(4)] + [(5, 1), (4, 9)]
    return [(*(normal(draw, n_tokens, 6) for _ in range(3)), window) for n_tokens, window in sizes]


def _attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, scale: bool = True, axis: int = -1) -> Tensor:
    scores = q @ k.T / (q.shape[-1] ** 0.5 if scale else 1)
    return scores.masked_fill(hidden, float("-inf")).softmax(axis).nan_to_num() @ v


def _back(q: Tensor) -> Tensor:
    return torch.arange(len(q))[:, None] - torch.arange(len(q))[None, :]


def _hidden(q: Tensor, window: int) -> Tensor:
    return (_back(q) < 0) | (_back(q) >= window)


def _too_short(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return _attend(q, k, v, (_back(q) < 0) | (_back(q) > max(window - 2, 0)))


def _future(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return _attend(q, k, v, _back(q) >= window)


def _not_itself(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return _attend(q, k, v, (_back(q) <= 0) | (_back(q) > window))


def _no_scale(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return _attend(q, k, v, _hidden(q, window), scale=False)


def _wrong_axis(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return _attend(q, k, v, _hidden(q, window), axis=0)


def _masked_after(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    weights = (q @ k.T / q.shape[-1] ** 0.5).softmax(-1)
    return weights.masked_fill(_hidden(q, window), 0.0) @ v


EXERCISE = Exercise(
    id="05.3",
    title="Find the bug: prefill and decoding disagree",
    minutes=15,
    difficulty=2,
    cases=cases,
    solution=mended_attention,
    given=given,
    mistakes=(
        Mistake(
            "still window + 1 keys",
            "Row W is the first that goes wrong: it still sees W + 1 keys, and the buffer has room for W. "
            "Print (~hidden).sum(1). Do not make the buffer larger: it is what a window of W means.",
            wrong=given,
        ),
        Mistake("window - 1 keys", "Now the rows see one key too few. Print (~hidden).sum(1).", wrong=_too_short),
        Mistake(
            "sees the future",
            "The first row looks at later tokens: `back < 0` must stay hidden. That part was right.",
            wrong=_future,
        ),
        Mistake(
            "not itself",
            "The number of keys is right, but they are the W before the token. In the buffer the token's own key has "
            "already been written over the oldest: it sees itself and W - 1 others.",
            wrong=_not_itself,
        ),
        Mistake("scale lost", "The division by the root of D is gone. The bug is elsewhere.", wrong=_no_scale),
        Mistake(
            "softmax over queries",
            "The weights of each *query* add up to 1: softmax goes over the keys, the last axis.",
            wrong=_wrong_axis,
        ),
        Mistake(
            "mask after softmax",
            "Hidden keys still took their share of the softmax, so the weights left over add up to less than 1. "
            "Mask the scores before the softmax.",
            wrong=_masked_after,
        ),
    ),
    nudge="Run the cell after the check (T = 6, W = 3), and look at the *first* row that differs. "
    "How many keys does that row see, and how many does the buffer hold?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `q`, `k`, `v` | (T, D) | one head, positions already turned |
| `back` | (T, T) | distance from query to key |
| `hidden` | (T, T), bool | True where the query may *not* look |
| `(~hidden).sum(1)` | (T,) | keys that each query sees; at most W |
""",
    skeleton="""
def mended_attention(q, k, v, window):
    position = torch.arange(len(q))
    back = position[:, None] - position[None, :]
    hidden = (back < 0) | (back ____ window)      # the rest was right
    ...
""",
    explanation="`back > window` lets distances 0 to W through, which is W + 1 keys; the buffer keeps W. One sign, and both "
    "paths agree at every position.",
    report="Mistral's own one_file_ref.py shipped this: W + 1 keys when it reads a prompt, a buffer of W slots when it decodes. "
    "transformers moved the same edge in huggingface/transformers#26792 and #40163.",
)
