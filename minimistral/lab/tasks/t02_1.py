"""02.1: causal attention, from the tokens' vectors to the mixed values."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_attention(x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
    q, k, v = x @ wq.T, x @ wk.T, x @ wv.T  # (T, D) each
    scores = q @ k.T / q.shape[-1] ** 0.5  # (T, S)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ v  # (T, D)


def cases(draw: random.Random) -> list[tuple]:
    """T, C and D all differ, and the scores are large enough for every mistake to show."""
    found = []
    for n_tokens in (3, draw.randint(4, 6), draw.randint(7, 9)):
        dim, head_dim = draw.choice([(12, 5), (11, 4), (10, 2)])
        found.append((normal(draw, n_tokens, dim), *(normal(draw, head_dim, dim) / 2 for _ in range(3))))
    return found


def _attend(x, wq, wk, wv, hidden=None, scale=None, axis=-1, mixes=None) -> Tensor:
    q, k, v = x @ wq.T, x @ wk.T, x @ wv.T
    scores = q @ k.T / (q.shape[-1] ** 0.5 if scale is None else scale)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1) if hidden is None else hidden(scores)
    weights = scores.masked_fill(future, float("-inf")).softmax(axis)
    return weights @ (v if mixes is None else mixes(q, k, v))


def _ones(scores: Tensor) -> Tensor:
    return torch.ones_like(scores, dtype=torch.bool)


def _masked_after(x, wq, wk, wv) -> Tensor:
    q, k, v = x @ wq.T, x @ wk.T, x @ wv.T
    return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1).tril() @ v


def _zero_scores(x, wq, wk, wv) -> Tensor:
    q, k, v = x @ wq.T, x @ wk.T, x @ wv.T
    return (q @ k.T / q.shape[-1] ** 0.5).tril().softmax(-1) @ v


def _wrong_triangle(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, hidden=lambda scores: _ones(scores).tril(-1))


def _not_itself(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, hidden=lambda scores: _ones(scores).triu(0))


def _over_queries(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, axis=0)


def _no_mask(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, hidden=lambda scores: ~_ones(scores))


def _no_scale(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, scale=1)


def _scale_of_width(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, scale=x.shape[-1] ** 0.5)


def _scale_without_root(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, scale=wq.shape[0])


def _mixes_keys(x, wq, wk, wv) -> Tensor:
    return _attend(x, wq, wk, wv, mixes=lambda q, k, v: k)


def _keys_ask(x, wq, wk, wv) -> Tensor:
    return _attend(x, wk, wq, wv)


EXERCISE = Exercise(
    id="02.1",
    title="Causal attention",
    minutes=6,
    difficulty=1,
    cases=cases,
    solution=my_attention,
    mistakes=(
        Mistake(
            "mask after softmax",
            "Hidden keys took their share of the softmax before you removed them, so the weights left over add up to less "
            "than 1. Print weights.sum(-1). Hide the scores first, with float('-inf').",
            wrong=_masked_after,
        ),
        Mistake(
            "zero for minus infinity",
            "A score of 0 hides nothing: exp(0) is 1. Hidden scores must become minus infinity, whose exp is 0. "
            "`tril` fills with zeros; `masked_fill` fills with what you say.",
            wrong=_zero_scores,
        ),
        Mistake(
            "the wrong triangle",
            "Your first token looks at all later ones, and your last only at itself. Row i is the query: it may look at "
            "columns 0 to i. What is above the diagonal is the future.",
            wrong=_wrong_triangle,
        ),
        Mistake(
            "not itself",
            "The diagonal is hidden too, so the first token has nothing to look at (0 divided by 0). A token may look at itself: "
            "hide from the first diagonal above it, triu(1).",
            wrong=_not_itself,
        ),
        Mistake(
            "softmax over queries",
            "Which axis sums to 1? Each *query* hands out a weight of 1 over its keys, so each row does. Print weights.sum(-1): "
            "softmax goes over the last axis.",
            wrong=_over_queries,
        ),
        Mistake(
            "no mask", "The first token's result depends on later tokens. Which scores may it not have?", wrong=_no_mask
        ),
        Mistake("no scale", "The scores are right but for their size: divide them by the root of D.", wrong=_no_scale),
        Mistake(
            "root of the wrong size",
            "You divide by the root of C, the width of x. A score adds up as many products as a *key* has numbers: that is D.",
            wrong=_scale_of_width,
        ),
        Mistake(
            "no root",
            "You divide by D. The size of a score grows like the root of D: divide by that.",
            wrong=_scale_without_root,
        ),
        Mistake(
            "keys handed over",
            "The weights are right, but you mix the keys. Keys are for being found; what is handed over is v.",
            wrong=_mixes_keys,
        ),
        Mistake(
            "queries and keys swapped",
            "Row i of your scores belongs to key i. The token that looks is the query: q @ k.T, and not k @ q.T.",
            wrong=_keys_ask,
        ),
    ),
    nudge="First x becomes q, k and v; then come the four steps: score, hide, softmax, mix. After which of them is there a "
    "table with a row for each query? What must each of its rows add up to in the end?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `x` | (T, C) | a vector for each token |
| `wq`, `wk`, `wv` | (D, C) | as nn.Linear stores them: `x @ wq.T` |
| `q`, `k`, `v` | (T, D) | query, key and value of each token |
| scores, weights | (T, T) | row: query, column: key |
| result | (T, D) | the mixed values |
""",
    skeleton="""
def my_attention(x, wq, wk, wv):
    q, k, v = x @ wq.T, ____, ____
    scores = ____ / q.shape[-1] ** 0.5
    future = torch.ones_like(scores, dtype=torch.bool).triu(____)
    weights = scores.masked_fill(future, ____).softmax(____)
    return ____
""",
    explanation="The mask goes between scores and softmax: minus infinity becomes the weight 0, and the visible weights of each "
    "row add up to 1 all the same.",
)
