"""Chapter 08's mixtures in one dimension: four straight experts and a straight gate learn four straight pieces.

The gate can just do it: the largest of four lines in x cuts the axis into at most four intervals. All seeds are trained at
once, as one more dimension. In the task "distractor" the gate sees a second number, which says nothing about the answer.

S seeds, N inputs, E experts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS, RATE, BALANCE = 1_200, 0.02, 0.01  # of Adam; the weight of the balance loss is Switch's (arXiv 2101.03961, 2.2)
N_INPUTS, N_EXPERTS = 128, 4
VARIANCE = 0.05  # of an expert's misses, where experts compete
TASKS = ("line", "distractor")
CUTS = (
    -1.0,
    -0.7,
    0.2,
    0.5,
    1.0,
)  # where the pieces begin and end: of unequal length, so that an even load is not the answer
SLOPES, HEIGHTS = (3.0, -3.0, 2.0, -2.0), (0.8, -0.4, 0.4, -0.8)  # of the four pieces; heights in their middles


@dataclass(frozen=True)
class Kind:
    """How a mixture routes. softmax is "before" or "after" the choice of the k largest; router_rate multiplies RATE."""

    k: int
    softmax: str = "after"
    balance: float = 0.0
    router_rate: float = 1.0  # 0: frozen
    separate: bool = False  # each expert learns the whole task by itself, and all are averaged
    compete: bool = False  # trained on 1991's loss instead of the blend's error


KINDS = {
    "soft blend": Kind(N_EXPERTS),
    "soft, competing": Kind(N_EXPERTS, compete=True),
    "separate, averaged": Kind(N_EXPERTS, separate=True),
    "top-2": Kind(2),
    "top-2, balanced": Kind(2, balance=BALANCE),
    "top-2, frozen": Kind(2, router_rate=0.0),
    "top-1 before": Kind(1, "before"),
    "top-1 before, balanced": Kind(1, "before", BALANCE),
    "top-1 before, balance x10": Kind(1, "before", 10 * BALANCE),
    "top-1 after": Kind(1),
    "top-1 after, balanced": Kind(1, balance=BALANCE),
    "top-1, frozen": Kind(1, router_rate=0.0),
    "top-1 before, router rate x30": Kind(1, "before", router_rate=30.0),
}


def inputs() -> Tensor:
    """(N,) evenly spread over (-1, 1)."""
    return (torch.arange(N_INPUTS) + 0.5) / N_INPUTS * 2 - 1


def target(x: Tensor) -> Tensor:
    """x (N,) to the height of the straight piece there, (N,), with a jump from one piece to the next."""
    cuts = torch.tensor(CUTS)
    piece = torch.bucketize(x, cuts[1:-1], right=True)
    middle = (cuts[piece] + cuts[piece + 1]) / 2
    return torch.tensor(HEIGHTS)[piece] + torch.tensor(SLOPES)[piece] * (x - middle)


def features(x: Tensor, task: str) -> Tensor:
    """What the gate sees, (N, 3): x, a second number (0 in the task "line", pure noise in "distractor"), and 1."""
    if task not in TASKS:
        raise ValueError(f"task={task!r}: choose from {', '.join(TASKS)}.")
    noise = torch.rand(len(x), generator=torch.Generator().manual_seed(1)) * 2 - 1
    return torch.stack([x, noise if task == "distractor" else torch.zeros_like(x), torch.ones_like(x)], dim=-1)


def starting_weights(seeds: int | list[int]) -> dict[str, Tensor]:
    """gate (S, E, 3) and experts (S, E, 2: slope, height); seed s draws the same for every kind of router."""
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    drawn = [torch.randn(N_EXPERTS, 5, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    gate, experts = torch.stack(drawn).split([3, 2], dim=-1)
    return {"gate": gate.clone().requires_grad_(), "experts": (experts / 2).requires_grad_()}


def mix(logits: Tensor, outputs: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
    """logits, outputs (S, N, E) to the mixture (S, N), its weights (S, N, E), and 1 where an expert was chosen (S, N, E)."""
    if kind.k == N_EXPERTS:  # nobody is left out: the same numbers, sooner
        weights = logits.softmax(dim=-1)
        return (weights * outputs).sum(dim=-1), weights, torch.ones_like(logits)
    chosen = torch.zeros_like(logits).scatter(-1, logits.topk(kind.k, dim=-1).indices, 1.0)
    shown = logits.masked_fill(chosen == 0, -torch.inf) if kind.softmax == "after" else logits
    weights = shown.softmax(dim=-1) * chosen
    return (weights * outputs).sum(dim=-1), weights, chosen


def forward(weights: dict[str, Tensor], x: Tensor, task: str, kind: Kind) -> dict[str, Tensor]:
    """guess (S, N); experts' lines, gate logits, mixing weights, chosen: (S, N, E) each."""
    experts = weights["experts"][:, None, :, 0] * x[:, None] + weights["experts"][:, None, :, 1]
    logits = torch.einsum("nf,sef->sne", features(x, task), weights["gate"])
    guess, mixing, chosen = mix(torch.zeros_like(experts) if kind.separate else logits, experts, kind)
    return {"guess": guess, "experts": experts, "logits": logits, "weights": mixing, "chosen": chosen}


def losses(out: dict[str, Tensor], y: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Of each seed, (S,): the error that is trained, and the balance loss of Switch's equation 4.

    The error is the blend's squared error; or each expert's own; or, where they compete, minus the log-likelihood of a
    mixture of normal distributions (Jacobs and others 1991, equation 1.3, there with variance 1), times the variance.
    """
    error = (out["guess"] - y).square().mean(dim=1)
    if kind.compete:
        misses = (out["experts"] - y[:, None]).square()
        odds = out["logits"].log_softmax(dim=-1) - misses / (2 * VARIANCE)
        error = -VARIANCE * odds.logsumexp(dim=-1).mean(dim=1)
    if kind.separate:  # each its own
        error = (out["experts"] - y[:, None]).square().mean(dim=(1, 2))
    share = out["chosen"].mean(dim=1) / kind.k
    return error, N_EXPERTS * (share * out["logits"].softmax(dim=-1).mean(dim=1)).sum(dim=-1)


def train(
    kind: Kind,
    task: str,
    seeds: int | list[int],
    steps: int = STEPS,
    report: Callable[[int, float], None] = lambda *_: None,
) -> dict[str, Tensor]:
    """Adam on the error and the weighted balance loss: gate and experts, and `router_gradient` (S,), of the error alone.

    `router_gradient` is the norm of what the error alone tells the gate, the mean over every hundredth step.
    """
    x, weights, gradients = inputs(), starting_weights(seeds), []
    y = target(x)
    groups = [{"params": [weights["experts"]]}, {"params": [weights["gate"]], "lr": RATE * kind.router_rate}]
    optimizer = torch.optim.Adam(groups, lr=RATE)
    for step in range(steps):
        error, balance = losses(forward(weights, x, task, kind), y, kind)
        if step % 100 == 0:
            [gradient] = torch.autograd.grad(error.sum(), [weights["gate"]], retain_graph=True, allow_unused=True)
            gradients.append(torch.zeros_like(error) if gradient is None else gradient.flatten(1).norm(dim=1))
        optimizer.zero_grad()
        (error + kind.balance * balance).sum().backward()
        optimizer.step()
        report(step + 1, float(error.detach().mean()))
    return {
        **{name: value.detach() for name, value in weights.items()},
        "router_gradient": torch.stack(gradients).mean(0),
    }
