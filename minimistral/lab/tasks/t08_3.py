"""08.3, a bug hunt: one name for logits and probabilities, and softmax is taken twice."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_router(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    router_logits = x @ gate.T  # (N, E)
    probabilities = router_logits.softmax(-1)
    weights, expert_ids = probabilities.topk(k, dim=-1)  # (N, K)
    weights = weights / weights.sum(-1, keepdim=True)
    f = torch.bincount(expert_ids.flatten(), minlength=len(gate)) / expert_ids.numel()
    P = router_logits.softmax(-1).mean(0)
    return weights, len(gate) * (f * P).sum()


def given(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    router_logits = x @ gate.T  # (N, E)
    router_logits = router_logits.softmax(-1)
    weights, expert_ids = router_logits.topk(k, dim=-1)  # (N, K)
    weights = weights / weights.sum(-1, keepdim=True)
    f = torch.bincount(expert_ids.flatten(), minlength=len(gate)) / expert_ids.numel()
    P = router_logits.softmax(-1).mean(0)
    return weights, len(gate) * (f * P).sum()


def cases(draw: random.Random) -> list[tuple]:
    """Gates that lean to some experts, so that a loss near 1 is far from right."""
    found = []
    for n_tokens, dim, n_experts, k in [(9, 4, 8, 2), (12, 5, 4, 2), (8, 3, 6, 1)]:
        x = normal(draw, n_tokens, dim)
        x[:, 0] = 2.0
        gate = normal(draw, n_experts, dim)
        gate[0, 0], gate[1, 0] = 2.0, 1.0
        found.append((x, gate, k))
    return found


def _loss(ids: Tensor, P: Tensor) -> Tensor:
    return len(P) * (torch.bincount(ids.flatten(), minlength=len(P)) / ids.numel() * P).sum()


def _raw_weights(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    logits = x @ gate.T
    weights, ids = logits.topk(k, dim=-1)
    return weights / weights.sum(-1, keepdim=True), _loss(ids, logits.softmax(-1).mean(0))


def _raw_loss(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    logits = x @ gate.T
    ids = logits.topk(k, dim=-1).indices
    return mended_router(x, gate, k)[0], _loss(ids, logits.mean(0))


def _softmax_of_probabilities(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    probabilities = (x @ gate.T).softmax(-1)
    weights, ids = probabilities.topk(k, dim=-1)
    return weights.softmax(-1), _loss(ids, probabilities.mean(0))


def _not_renormalised(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    probabilities = (x @ gate.T).softmax(-1)
    weights, ids = probabilities.topk(k, dim=-1)
    return weights, _loss(ids, probabilities.mean(0))


def _of_the_chosen(x: Tensor, gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    probabilities = (x @ gate.T).softmax(-1)
    top, ids = probabilities.topk(k, dim=-1)
    weights = top / top.sum(-1, keepdim=True)
    return weights, _loss(ids, torch.zeros_like(probabilities).scatter(-1, ids, weights).mean(0))


EXERCISE = Exercise(
    id="08.3",
    title="Find the bug: a balance loss that never complains",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=mended_router,
    given=given,
    mistakes=(
        Mistake(
            "softmax twice",
            "The loss still sees softmax(softmax(logits)), which is nearly even whatever the router does. Print P and its "
            "largest entry: numbers from 0 to 1 differ too little for a second softmax.",
            wrong=given,
        ),
        Mistake(
            "weights from raw logits",
            "The loss is right now, but the weights lost their softmax: logits divided by their sum can even be negative. "
            "Keep the probabilities, under a name of their own.",
            wrong=_raw_weights,
        ),
        Mistake(
            "loss from raw logits",
            "Now the loss has no softmax at all. P is a mean of probabilities and adds up to 1: print P.sum().",
            wrong=_raw_loss,
        ),
        Mistake(
            "softmax twice in the weights",
            "The loss is mended, and the weights are now a softmax of probabilities: too even. Divide the k probabilities by "
            "their sum, or take the softmax of the k logits.",
            wrong=_softmax_of_probabilities,
        ),
        Mistake(
            "not renormalised",
            "The loss is mended, but the weights no longer add up to 1. That line was right.",
            wrong=_not_renormalised,
        ),
        Mistake(
            "P of the chosen alone",
            "P must be the mean softmax over all experts, the ones that were not chosen too: they are to be drawn back in.",
            wrong=_of_the_chosen,
        ),
    ),
    nudge="Run it with a gate that sends everything to one expert. The loss should come near E. What does it give? Print the "
    "sum of each row of what the last softmax gets.",
    shapes="""
| name | shape | rows add up to |
|---|---|---|
| `x @ gate.T` | (N, E) | anything: logits |
| what `topk` sees | (N, E) | 1 |
| what the softmax of P sees | (N, E) | should be anything. Is it? |
| f, P | (E,) | 1 |
""",
    skeleton="""
def mended_router(x, gate, k):
    router_logits = x @ gate.T
    probabilities = ____
    weights, expert_ids = ____.topk(k, dim=-1)
    weights = weights / weights.sum(-1, keepdim=True)
    f = torch.bincount(expert_ids.flatten(), minlength=len(gate)) / expert_ids.numel()
    P = ____.mean(0)
    return weights, ____ * (f * P).sum()
""",
    explanation="One name, `router_logits`, stood first for logits and then for probabilities. Probabilities lie between 0 and "
    "1, so no ratio after a second softmax exceeds e = 2.718: P is nearly even; with 8 experts and k = 1 the loss "
    "of a collapsed router is 2.2 instead of 8, and its gradient is weak. "
    "The choice and the weights are not touched, so nothing looks wrong.",
    report="transformers shipped this in the routers of Mixtral and a dozen relatives: reported as "
    "https://github.com/huggingface/transformers/issues/45120, mended in "
    "https://github.com/huggingface/transformers/pull/45131 (2026).",
)
