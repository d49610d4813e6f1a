"""08.2: the balance loss over several layers."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_balance_loss(router_logits: Tensor, k: int) -> Tensor:
    n_layers, n_tokens, n_experts = router_logits.shape
    probabilities = router_logits.softmax(dim=-1)  # (L, N, E)
    expert_ids = router_logits.topk(k, dim=-1).indices  # (L, N, K)
    chosen = torch.zeros_like(probabilities).scatter(-1, expert_ids, 1.0)  # (L, N, E) of 0 and 1
    share = chosen.mean(dim=1) / k  # f (L, E): each layer's adds up to 1
    mean_weight = probabilities.mean(dim=1)  # P (L, E)
    return (n_experts * (share * mean_weight).sum(dim=-1)).mean()


def cases(draw: random.Random) -> list[tuple]:
    """Each layer leans to experts of its own, so that layers taken together look more even than each of them."""
    sizes = [(3, 12, 4, 2), (2, 20, 8, 2), (4, 9, 5, 3), (1, 15, 6, 1)]
    return [(normal(draw, L, N, E) + 2 * normal(draw, L, 1, E), k) for L, N, E, k in sizes]


def _parts(router_logits: Tensor, k: int, dims=1) -> tuple[Tensor, Tensor, int]:
    probabilities = router_logits.softmax(-1)
    chosen = torch.zeros_like(probabilities).scatter(-1, router_logits.topk(k, dim=-1).indices, 1.0)
    return chosen.mean(dims), probabilities.mean(dims), router_logits.shape[-1]


def _soft_share(router_logits: Tensor, k: int) -> Tensor:
    _, P, E = _parts(router_logits, k)
    return (E * (P * P).sum(-1)).mean()


def _share_of_tokens(router_logits: Tensor, k: int) -> Tensor:
    f, P, E = _parts(router_logits, k)
    return (E * (f * P).sum(-1)).mean()


def _pooled(router_logits: Tensor, k: int) -> Tensor:
    f, P, E = _parts(router_logits, k, (0, 1))
    return E * (f / k * P).sum()


def _pooled_by_tokens(router_logits: Tensor, k: int) -> Tensor:
    return k * _pooled(router_logits, k)


def _no_factor(router_logits: Tensor, k: int) -> Tensor:
    f, P, _ = _parts(router_logits, k)
    return (f / k * P).sum(-1).mean()


def _summed_over_layers(router_logits: Tensor, k: int) -> Tensor:
    return my_balance_loss(router_logits, k) * len(router_logits)


def _weights_of_the_chosen(router_logits: Tensor, k: int) -> Tensor:
    logits, ids = router_logits.topk(k, dim=-1)
    weights = torch.zeros_like(router_logits).scatter(-1, ids, logits.softmax(-1))
    f, _, E = _parts(router_logits, k)
    return (E * (f / k * weights.mean(1)).sum(-1)).mean()


def _logits_for_probabilities(router_logits: Tensor, k: int) -> Tensor:
    f, _, E = _parts(router_logits, k)
    return (E * (f / k * router_logits.mean(1)).sum(-1)).mean()


EXERCISE = Exercise(
    id="08.2",
    title="The balance loss",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=my_balance_loss,
    mistakes=(
        Mistake(
            "gradient through f",
            "This is E · Σ P · P: f was made from the soft probabilities. f counts who was really chosen, and a count has no "
            "gradient; the gradient goes through P alone (Switch, section 2.2).",
            wrong=_soft_share,
        ),
        Mistake(
            "f over tokens, not over choices",
            "An even load gives k here and not 1. Each token makes k choices: f is the share of all of them, and adds up to 1.",
            wrong=_share_of_tokens,
        ),
        Mistake(
            "pooled over layers",
            "f and P were taken over all layers at once. Then one layer's favourite hides another's, and a lopsided model looks "
            "even. Take the loss of each layer, then the mean.",
            wrong=_pooled,
        ),
        Mistake(
            "pooled over layers",
            "Two things: f and P were taken over all layers at once (each layer should have a loss of its own), and f over "
            "tokens instead of choices.",
            wrong=_pooled_by_tokens,
        ),
        Mistake("without E", "With an even load this gives 1/E. The factor E makes that 1.", wrong=_no_factor),
        Mistake(
            "summed over layers",
            "The layers were added up. Take their mean, so that 1 stays the value of an even load in any model.",
            wrong=_summed_over_layers,
        ),
        Mistake(
            "P of the chosen alone",
            "P was made from the weights after the choice, so an expert that is never chosen gets no gradient, and can never "
            "come back. P is the mean of the softmax over all E.",
            wrong=_weights_of_the_chosen,
        ),
        Mistake(
            "logits for probabilities",
            "P was made from the logits. It is a mean of probabilities: softmax over the experts first.",
            wrong=_logits_for_probabilities,
        ),
    ),
    nudge="Begin with one layer, 4 tokens, 2 experts, k = 1. If all choose expert 0 and are sure of it: f = (1, 0), P = (1, 0). "
    "What is E · Σ f · P? And if two choose each?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `router_logits` | (L, N, E) | one table a layer |
| `probabilities` | (L, N, E) | softmax over the E experts |
| f | (L, E) | each layer's share of its N · K choices; adds up to 1 |
| P | (L, E) | each layer's mean probability; adds up to 1 |
| result | () | the mean over layers of E · Σ f · P |
""",
    skeleton="""
def my_balance_loss(router_logits, k):
    probabilities = router_logits.softmax(dim=-1)
    expert_ids = router_logits.topk(k, dim=-1).indices
    chosen = torch.zeros_like(probabilities).scatter(-1, expert_ids, 1.0)
    f = chosen.mean(dim=____) / ____
    P = probabilities.mean(dim=____)
    return (____ * (f * P).sum(dim=-1)).____
""",
    explanation="f says who was chosen and P who the router would like; their product is smallest when both are even. Only P "
    "can be pushed by a gradient, so the loss lowers the probability of whoever is busy. Per layer, because each layer has "
    "a router and experts of its own.",
    report="transformers' Mixtral joins the logits of all layers before it computes f and P; that this lets layers cancel out "
    "was pointed out in https://github.com/huggingface/transformers/issues/28255.",
)
