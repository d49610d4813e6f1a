"""08.4, a bug hunt: a layer whose weights do not add up to 1."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_moe(x: Tensor, gate: Tensor, experts: Tensor, k: int) -> Tensor:
    probabilities = (x @ gate.T).softmax(-1)  # (N, E)
    weights, expert_ids = probabilities.topk(k, dim=-1)  # (N, K)
    weights = weights / weights.sum(-1, keepdim=True)
    outputs = torch.einsum("nc,ecd->ned", x, experts)  # (N, E, C): all experts, for simplicity
    chosen = outputs.gather(1, expert_ids[..., None].expand(-1, -1, x.shape[-1]))  # (N, K, C)
    return (weights[..., None] * chosen).sum(1)  # (N, C)


def given(x: Tensor, gate: Tensor, experts: Tensor, k: int) -> Tensor:
    probabilities = (x @ gate.T).softmax(-1)  # (N, E)
    weights, expert_ids = probabilities.topk(k, dim=-1)  # (N, K)
    outputs = torch.einsum("nc,ecd->ned", x, experts)  # (N, E, C): all experts, for simplicity
    chosen = outputs.gather(1, expert_ids[..., None].expand(-1, -1, x.shape[-1]))  # (N, K, C)
    return (weights[..., None] * chosen).sum(1)  # (N, C)


def cases(draw: random.Random) -> list[tuple]:
    sizes = [(6, 4, 8, 2), (5, 3, 4, 2), (7, 4, 6, 3), (4, 3, 5, 1)]
    return [(normal(draw, N, C), normal(draw, E, C), normal(draw, E, C, C), k) for N, C, E, k in sizes]


def _mix(x: Tensor, experts: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    outputs = torch.einsum("nc,ecd->ned", x, experts)
    return (weights[..., None] * outputs.gather(1, ids[..., None].expand(-1, -1, x.shape[-1]))).sum(1)


def _with(change) -> object:
    def wrong(x: Tensor, gate: Tensor, experts: Tensor, k: int) -> Tensor:
        weights, ids = (x @ gate.T).softmax(-1).topk(k, dim=-1)
        return _mix(x, experts, change(weights, k), ids)

    return wrong


EXERCISE = Exercise(
    id="08.4",
    title="Find the bug: the same weights, another model",
    minutes=10,
    difficulty=3,
    cases=cases,
    solution=mended_moe,
    given=given,
    mistakes=(
        Mistake(
            "not renormalised",
            "Each token's weights still add up to less than 1, so what a layer adds is too small, and by another factor for each "
            "token. Print weights.sum(-1).",
            wrong=given,
        ),
        Mistake(
            "divided over the tokens",
            "The sum ran over the tokens: now a token's weights depend on who stands beside it. Sum over the k choices: dim=-1.",
            wrong=_with(lambda weights, k: weights / weights.sum(0)),
        ),
        Mistake(
            "divided by k",
            "Divided by k, which does not make the sum 1: print weights.sum(-1).",
            wrong=_with(lambda weights, k: weights / k),
        ),
        Mistake(
            "multiplied by k",
            "A fixed factor cannot do it: the mass that was left out differs from token to token.",
            wrong=_with(lambda weights, k: weights * k),
        ),
        Mistake(
            "the other norm",
            "These weights have length 1 (their squares add up to 1). The weights themselves should add up to 1.",
            wrong=_with(lambda weights, k: weights / weights.norm(dim=-1, keepdim=True)),
        ),
        Mistake(
            "softmax twice",
            "A softmax of probabilities adds up to 1, and is too even. Divide by the sum, or take the softmax of the k logits.",
            wrong=_with(lambda weights, k: weights.softmax(-1)),
        ),
        Mistake(
            "equal weights",
            "Now every chosen expert counts alike. The larger logit should count for more.",
            wrong=_with(lambda weights, k: torch.full_like(weights, 1 / k)),
        ),
    ),
    nudge="The model was trained with weights that add up to 1. Take one token and print its weights and their sum.",
    shapes="""
| name | shape | rows add up to |
|---|---|---|
| `probabilities` | (N, E) | 1 |
| `weights` | (N, K) | less than 1, for the others held some; 1 is wanted |
| `chosen` | (N, K, C) | what the chosen experts say |
""",
    skeleton="""
    weights, expert_ids = probabilities.topk(k, dim=-1)
    weights = weights / ____
""",
    explanation="A softmax over all experts, cut to k and divided by its sum, is the softmax over the k logits: the divisor of "
    "the big softmax cancels. Without the division nothing fails. The layer just adds too little, which a model in training "
    "can get used to, and a model loaded from a checkpoint cannot.",
    report="pytorch's torchtitan loaded checkpoints of the DeepSeek-V3 family this way: "
    "https://github.com/pytorch/torchtitan/issues/1448. The opposite mistake exists too: OLMoE was trained without the "
    "division, and an implementation that always divided wrote nonsense: https://github.com/lablup/mlxcel/pull/391. Neither "
    "is right by itself; the configuration must say (norm_topk_prob).",
)
