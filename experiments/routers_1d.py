"""Chapter 08: seven ways to route in one dimension: does the router get a gradient, and how well do four lines then fit?

Four straight pieces with jumps between them are learned by four straight experts and a straight gate, which can just do it:
the largest of four lines in x cuts the axis into four intervals. All seeds are trained at once, as one more dimension.

With pieces of equal length an even load is also the right answer, and the balance loss alone, which knows nothing of the
task, finds it; with unequal ones it is not. Both are run, so that one is not taken for the other.

S seeds, N inputs, E experts.
"""

import torch
from torch import Tensor

from experiments.runner import Experiment

STEPS, RATE, BALANCE = 1_200, 0.02, 0.01
N_INPUTS, N_EXPERTS = 256, 4
CUTS = {"equal": (-1.0, -0.5, 0.0, 0.5, 1.0), "unequal": (-1.0, -0.7, 0.2, 0.5, 1.0)}  # where the pieces begin and end
SLOPES, HEIGHTS = (3.0, -3.0, 2.0, -2.0), (0.8, -0.4, 0.4, -0.8)  # of the four pieces; heights in their middles
# name: experts a token, softmax before or after the choice, weight of the balance loss, is the gate trained
ROUTERS = {
    "soft": (N_EXPERTS, "after", 0.0, True),
    "top2": (2, "after", 0.0, True),
    "top2_balanced": (2, "after", BALANCE, True),
    "top2_frozen": (2, "after", 0.0, False),
    "top1_before": (1, "before", 0.0, True),
    "top1_after": (1, "after", 0.0, True),
    "top1_after_balanced": (1, "after", BALANCE, True),
    "top1_frozen": (1, "after", 0.0, False),
}


def target(x: Tensor, pieces: str) -> Tensor:
    """x (N,) in [−1, 1) to the height of the straight piece there, (N,), with a jump from one piece to the next."""
    cuts = torch.tensor(CUTS[pieces])
    piece = torch.bucketize(x, cuts[1:-1], right=True)
    middle = (cuts[piece] + cuts[piece + 1]) / 2
    return torch.tensor(HEIGHTS)[piece] + torch.tensor(SLOPES)[piece] * (x - middle)


def starting_weights(seeds: int) -> dict[str, Tensor]:
    """A slope and a height for each expert and each gate logit, (S, E, 2); seed s draws the same for every router."""
    drawn = [torch.randn(2, N_EXPERTS, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(seeds)]
    gate, experts = torch.stack(drawn, dim=1)
    return {"gate": gate.requires_grad_(), "experts": (experts / 2).requires_grad_()}


def lines(weights: Tensor, x: Tensor) -> Tensor:
    """(S, E, 2) slopes and heights, x (N,) to (S, N, E)."""
    return x[:, None] * weights[:, None, :, 0] + weights[:, None, :, 1]


def mix(logits: Tensor, outputs: Tensor, k: int, softmax: str) -> tuple[Tensor, Tensor]:
    """logits, outputs (S, N, E) to the mixture (S, N), and which experts were chosen, (S, N, E) of 0 and 1."""
    chosen = torch.zeros_like(logits).scatter(-1, logits.topk(k, dim=-1).indices, 1.0)
    shown = logits.masked_fill(chosen == 0, -torch.inf) if softmax == "after" else logits
    weights = shown.softmax(dim=-1) * chosen
    return (weights * outputs).sum(dim=-1), chosen


def losses(weights: dict[str, Tensor], x: Tensor, y: Tensor, router: str) -> tuple[Tensor, Tensor, Tensor]:
    """Of each seed: mean squared error (S,), balance loss (S,) as in Switch's equation 4, and the share of each expert (S, E)."""
    k, softmax, _, _ = ROUTERS[router]
    logits = lines(weights["gate"], x)
    guess, chosen = mix(logits, lines(weights["experts"], x), k, softmax)
    share = chosen.mean(dim=1) / k
    balance = N_EXPERTS * (share * logits.softmax(dim=-1).mean(dim=1)).sum(dim=-1)
    return (guess - y).square().mean(dim=-1), balance, share


def run(router: str, pieces: str, seeds: int) -> dict:
    _, _, balance_weight, gate_is_trained = ROUTERS[router]
    x = (torch.arange(N_INPUTS) + 0.5) / N_INPUTS * 2 - 1
    y, weights = target(x, pieces), starting_weights(seeds)
    optimizer = torch.optim.Adam(weights.values() if gate_is_trained else [weights["experts"]], lr=RATE)
    gradients = []
    for step in range(STEPS):
        error, balance, _ = losses(weights, x, y, router)
        if step % 100 == 0:  # of the error alone: what the task tells the gate
            [gradient] = torch.autograd.grad(error.sum(), [weights["gate"]], retain_graph=True)
            gradients.append(gradient.flatten(1).norm(dim=1))
        optimizer.zero_grad()
        (error + balance_weight * balance).sum().backward()
        optimizer.step()
    with torch.no_grad():
        error, balance, share = losses(weights, x, y, router)
    return {
        "mse": _rounded(error),
        "router_gradient": _rounded(torch.stack(gradients).mean(dim=0)),
        "balance": _rounded(balance),
        "largest_share": _rounded(share.max(dim=1).values),
        "experts_used": (share > 0.02).sum(dim=1).tolist(),
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]


EXPERIMENT = Experiment(
    name="routers_1d",
    chapter="08",
    minutes=1,
    question="Does the router get a gradient, and how well does the mixture then fit?",
    settings=[dict(router=router, pieces=pieces, seeds=20) for pieces in CUTS for router in ROUTERS],
    run=run,
)
