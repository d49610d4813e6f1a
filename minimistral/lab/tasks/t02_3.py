"""02.3, a bug hunt: attention that hands over the wrong vectors, and a test that cannot see it."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_lookup(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.T / k.shape[-1] ** 0.5  # (T, T)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return weights @ v  # (T, D)


def given(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.T / k.shape[-1] ** 0.5  # (T, T)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return weights @ k  # (T, D)


def cases(draw: random.Random) -> list[tuple]:
    return [tuple(2 * normal(draw, draw_tokens, 6) for _ in range(3)) for draw_tokens in (3, draw.randint(4, 7), 8)]


def _weights(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.T / k.shape[-1] ** 0.5
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf")).softmax(-1)


def _queries_over(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weights(q, k) @ q


def _values_found(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weights(q, v) @ v


def _values_ask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weights(v, k) @ v


def _values_found_keys_over(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weights(q, v) @ k


def _turned(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weights(q, k).T @ v


def _both(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _weights(q, k) @ (k + v)


EXERCISE = Exercise(
    id="02.3",
    title="Find the bug: the test that could not see it",
    minutes=8,
    difficulty=2,
    cases=cases,
    solution=mended_lookup,
    given=given,
    mistakes=(
        Mistake(
            "keys handed over",
            "These are still mixed keys. Put zeros for v: the result should be zeros. What does each vector do: which is looked "
            "for, which is found, which is handed over?",
            wrong=given,
        ),
        Mistake(
            "queries handed over",
            "Now the queries are mixed. A query says what is looked for; it is not handed over.",
            wrong=_queries_over,
        ),
        Mistake(
            "scores from the values",
            "You put v in both places. The scores were right: a query is compared with *keys*. Only what is mixed was wrong.",
            wrong=_values_found,
        ),
        Mistake(
            "keys and values swapped",
            "You compare with the values and hand over the keys: the other way round. Test with v = 0.",
            wrong=_values_found_keys_over,
        ),
        Mistake("values ask", "The queries are gone from the scores, where they were right.", wrong=_values_ask),
        Mistake(
            "weights turned",
            "The weights were right as they were: row i belongs to query i. Do not transpose them.",
            wrong=_turned,
        ),
        Mistake(
            "keys and values added",
            "The values are there now, and so are the keys. Only one of them is handed over.",
            wrong=_both,
        ),
    ),
    nudge="Call it with v full of zeros. Mixing zeros can only give zeros. What comes out, and so, what was mixed?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `q` | (T, D) | what each token looks for |
| `k` | (T, D) | what each token is found by |
| `v` | (T, D) | what each token hands over |
| `weights` | (T, T) | row: query; each row adds up to 1 |
""",
    skeleton="""
def mended_lookup(q, k, v):
    scores = q @ k.T / k.shape[-1] ** 0.5
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return weights @ ____
""",
    explanation="The weights say how much of each *value* to take. With k = v, as in the test of the cell, both lines give the "
    "same numbers: a test whose inputs are equal cannot see that they were swapped. Draw every input apart.",
    report="ruvnet/agentic-flow#191 (2026): five attention functions took V and never used it; every example in the project's "
    "README passed the same tensor as K and V, so nothing looked wrong.",
)
