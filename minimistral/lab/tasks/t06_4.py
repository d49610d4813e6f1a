"""06.4, a bug hunt: a second text in a used buffer."""
# ruff: noqa: SIM113

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_texts(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    keys, values = torch.zeros(2, window, q.shape[-1])
    out = []
    for text in range(len(q)):
        keys.zero_()
        values.zero_()
        seen = 0
        for i in range(q.shape[1]):
            keys[seen % window], values[seen % window] = k[text, i], v[text, i]
            seen += 1
            n = min(seen, window)
            weights = (keys[:n] @ q[text, i] / q.shape[-1] ** 0.5).softmax(0)
            out.append(weights @ values[:n])
    return torch.stack(out).reshape(q.shape)


def given(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    keys, values = torch.zeros(2, window, q.shape[-1])
    seen = 0
    out = []
    for text in range(len(q)):
        keys.zero_()
        values.zero_()
        for i in range(q.shape[1]):
            keys[seen % window], values[seen % window] = k[text, i], v[text, i]
            seen += 1
            n = min(seen, window)
            weights = (keys[:n] @ q[text, i] / q.shape[-1] ** 0.5).softmax(0)
            out.append(weights @ values[:n])
    return torch.stack(out).reshape(q.shape)


def cases(draw: random.Random) -> list[tuple]:
    def one(n_texts: int, n_tokens: int, window: int) -> tuple:
        return *(normal(draw, n_texts, n_tokens, 4) for _ in range(3)), window

    window = draw.randint(3, 4)
    return [
        one(2, 5, window),
        one(3, 2, window),
        one(2, 2 * window, window),
        one(1, 6, window),
        one(2, 3, 1),
        one(2, 2, 7),
    ]


def _variant(q: Tensor, k: Tensor, v: Tensor, window: int, start=lambda seen, window: 0, wipe: bool = True,
             fresh=lambda seen, window: seen, n_read=min) -> Tensor:  # fmt: skip
    """The loop with one thing changed: where a text starts, whether slots are emptied, what a step does to the count."""
    keys, values = torch.zeros(2, window, q.shape[-1])
    seen, out = 0, []
    for text in range(len(q)):
        if wipe:
            keys.zero_()
            values.zero_()
        seen = start(seen, window)
        for i in range(q.shape[1]):
            keys[seen % window], values[seen % window] = k[text, i], v[text, i]
            seen += 1
            n = n_read(seen, window)
            weights = (keys[:n] @ q[text, i] / q.shape[-1] ** 0.5).softmax(0)
            out.append(weights @ values[:n])
            seen = fresh(seen, window)
    return torch.stack(out).reshape(q.shape)


def _sees_the_last_text(q, k, v, window):
    return _variant(q, k, v, window, start=lambda seen, window: seen, wipe=False)


def _wrapped_pointer(q, k, v, window):
    return _variant(q, k, v, window, start=lambda seen, window: seen % window)


def _reset_at_the_wrap(q, k, v, window):
    return _variant(q, k, v, window, fresh=lambda seen, window: seen % window)


def _reset_each_token(q, k, v, window):
    return _variant(q, k, v, window, fresh=lambda seen, window: 0)


def _starts_at_one(q, k, v, window):
    return _variant(q, k, v, window, start=lambda seen, window: 1)


def _reads_all(q, k, v, window):
    return _variant(q, k, v, window, n_read=lambda seen, window: window)


EXERCISE = Exercise(
    id="06.4",
    title="Find the bug: the second text comes out wrong",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_texts,
    given=given,
    mistakes=(
        Mistake(
            "the pointer is stale",
            "The keys are emptied between texts, and the count of tokens goes on. So the second text starts in a slot in the "
            "middle, and reads zeros as if they were keys. What else must begin anew?",
            wrong=given,
        ),
        Mistake(
            "it sees the last text",
            "Neither the keys nor the count begin anew: the second text attends to the first. Worse than before, and with a "
            "stranger's text it would be a leak.",
            wrong=_sees_the_last_text,
        ),
        Mistake(
            "the remainder is stale",
            "seen % window is still where the last text stopped. A new text begins at position 0.",
            wrong=_wrapped_pointer,
        ),
        Mistake(
            "forgets at every wrap",
            "Now the count falls to 0 whenever the buffer is full, and the token after it sees itself only. Only a new *text* "
            "begins at 0.",
            wrong=_reset_at_the_wrap,
        ),
        Mistake(
            "forgets at every token",
            "Each token sees only itself: the count is set to 0 inside the loop over tokens. It belongs outside, once a text.",
            wrong=_reset_each_token,
        ),
        Mistake(
            "starts at 1",
            "The first token of a text has position 0, so nothing was seen before it: slot 0 stays empty, and is read as a key.",
            wrong=_starts_at_one,
        ),
        Mistake(
            "reads empty slots",
            "Slots that were never written hold zeros, and softmax gives a score of 0 a weight too. Read min(seen, window) slots.",
            wrong=_reads_all,
        ),
    ),
    nudge="Run it with two texts that are the same. The first comes out right, so the second should too. "
    "Print `seen` and `n` at the first token of each.",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `q`, `k`, `v` | (B, T, D) | B texts of T tokens, one head, already turned |
| `keys`, `values` | (W, D) | one buffer, used for one text after the other |
| `seen` | int | tokens of *this* text so far |
| result | (N, T, D) | each text as if it were alone |
""",
    skeleton="""
    for text in range(len(q)):
        keys.zero_()
        values.zero_()
        ____
        for i in range(q.shape[1]):
            ...
""",
    explanation="A cache is its keys *and* its count. With the count at 0 nothing stale can be read, even if the old keys are "
    "left where they are: only the slots below min(seen, window) are looked at, and those have been written by this text.",
    report="rasbt/LLMs-from-scratch#925 mended this one: after a reset the cache's pointer and the model's stayed where they were.",
)
