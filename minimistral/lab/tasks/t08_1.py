"""08.1: the weights of the k chosen experts."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_weights(router_logits: Tensor, k: int) -> Tensor:
    chosen_logits, expert_ids = router_logits.topk(k, dim=-1)  # (N, K) each
    weights = chosen_logits.softmax(dim=-1)  # (N, K): each row adds up to 1
    return torch.zeros_like(router_logits).scatter(-1, expert_ids, weights)  # (N, E)


def cases(draw: random.Random) -> list[tuple]:
    sizes = [(6, 8, 2), (5, 4, 2), (7, 8, 3), (4, 5, 1), (3, 4, 4)]
    return [(normal(draw, n_tokens, n_experts) * 1.5, k) for n_tokens, n_experts, k in sizes]


def _parts(router_logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    logits, ids = router_logits.topk(k, dim=-1)
    return torch.zeros_like(router_logits), logits, ids


def _not_renormalised(router_logits: Tensor, k: int) -> Tensor:
    zeros, _, ids = _parts(router_logits, k)
    return zeros.scatter(-1, ids, router_logits.softmax(-1).gather(-1, ids))


def _ids_sorted(router_logits: Tensor, k: int) -> Tensor:
    zeros, logits, ids = _parts(router_logits, k)
    return zeros.scatter(-1, ids.sort(-1).values, logits.softmax(-1))


def _over_tokens(router_logits: Tensor, k: int) -> Tensor:
    zeros, logits, ids = _parts(router_logits, k)
    return zeros.scatter(-1, ids, logits.softmax(0))


def _hidden_as_zero(router_logits: Tensor, k: int) -> Tensor:
    zeros, logits, ids = _parts(router_logits, k)
    return zeros.scatter(-1, ids, logits).softmax(-1)


def _smallest(router_logits: Tensor, k: int) -> Tensor:
    return _weights_of(router_logits, router_logits.topk(k, dim=-1, largest=False).indices)


def _weights_of(router_logits: Tensor, ids: Tensor) -> Tensor:
    return torch.zeros_like(router_logits).scatter(-1, ids, router_logits.gather(-1, ids).softmax(-1))


def _equal(router_logits: Tensor, k: int) -> Tensor:
    zeros, _, ids = _parts(router_logits, k)
    return zeros.scatter(-1, ids, 1 / k)


def _all(router_logits: Tensor, k: int) -> Tensor:
    return router_logits.softmax(-1)


def _divided_logits(router_logits: Tensor, k: int) -> Tensor:
    zeros, logits, ids = _parts(router_logits, k)
    return zeros.scatter(-1, ids, logits / logits.sum(-1, keepdim=True))


def _is_short(inputs: tuple, got: object, expected: object) -> bool:
    return isinstance(got, Tensor) and got.shape == (len(expected), inputs[1]) != expected.shape


EXERCISE = Exercise(
    id="08.1",
    title="The weights of the chosen experts",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_weights,
    mistakes=(
        Mistake(
            "not renormalised",
            "These are shares of a softmax over all experts, so a token's weights add up to less than 1: what the others "
            "held is lost. Print weights.sum(-1): it should be all ones.",
            wrong=_not_renormalised,
        ),
        Mistake(
            "ids sorted, weights left behind",
            "The right experts, and the right weights, but in some rows they are swapped: the ids were put in order and the "
            "weights stayed where they were. Keep each id with its weight.",
            wrong=_ids_sorted,
        ),
        Mistake(
            "softmax over the tokens",
            "The columns add up, not the rows: this softmax ran over the tokens. Each token decides for itself: dim=-1.",
            wrong=_over_tokens,
        ),
        Mistake(
            "hidden with 0",
            "The others have got a weight. A logit of 0 is not small: exp(0) = 1. Hide them with -inf, or leave them out.",
            wrong=_hidden_as_zero,
        ),
        Mistake(
            "the smallest", "These are the k experts with the smallest logits. The largest are meant.", wrong=_smallest
        ),
        Mistake(
            "equal weights",
            "The right experts, each with 1/k. The one with the larger logit should count for more: softmax over the k logits.",
            wrong=_equal,
        ),
        Mistake(
            "nobody was left out",
            "Every expert has a weight here: that is 1991's soft blend. Where does k come in?",
            wrong=_all,
        ),
        Mistake(
            "divided without exp",
            "Logits can be negative, so dividing them by their sum gives no weights. Softmax takes exp first.",
            wrong=_divided_logits,
        ),
        Mistake(
            "k columns instead of E",
            "There is one column a chosen expert. Put the weights into a table of zeros with one column an expert.",
            seen=_is_short,
        ),
    ),
    nudge="Take one token with logits 2, 1, 0, −1 and k = 2. Which two stay? What is e² : e¹, as shares that add up to 1?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `router_logits` | (N, E) | one row a token, one column an expert |
| `chosen_logits`, `expert_ids` | (N, K) | what `topk` gives |
| weights | (N, K) | each row adds up to 1 |
| result | (N, E) | the same weights, each in its expert's column; exactly 0 elsewhere |
""",
    skeleton="""
def my_weights(router_logits, k):
    chosen_logits, expert_ids = router_logits.topk(____, dim=-1)
    weights = chosen_logits.softmax(dim=____)
    return torch.zeros_like(router_logits).scatter(-1, ____, ____)
""",
    explanation="`topk` gives values and places together, and they must stay together. The softmax sees only the k logits; "
    "`scatter` writes each weight into the column that its id names.",
)
