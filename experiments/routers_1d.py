"""Chapter 08: thirteen ways to mix four lines. Does the router get a gradient, who gets the load, and how good is the fit?

Two tasks: in "line" the gate sees x; in "distractor" it also sees a number that says nothing about the answer, so that an
even load can be had without any use for the task. Null: a router that is trained does no better than the same one, frozen.
"""

import torch

from experiments.runner import Experiment
from minimistral.lab.mixture_1d import KINDS, TASKS, forward, inputs, losses, starting_weights, target, train


def run(kind: str, task: str, seeds: int) -> dict:
    trained = train(KINDS[kind], task, seeds)
    x = inputs()
    out = forward(trained, x, task, KINDS[kind])
    share = out["chosen"].mean(dim=1) / KINDS[kind].k  # (S, E)
    _, balance = losses(out, target(x), KINDS[kind])
    return {
        "mse": rounded((out["guess"] - target(x)).square().mean(dim=1)),
        "router_gradient": rounded(trained["router_gradient"]),
        "router_moved": rounded((trained["gate"] - starting_weights(seeds)["gate"]).flatten(1).norm(dim=1)),
        "balance": rounded(balance),
        "load": [sorted(rounded(one), reverse=True) for one in share],
    }


def rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]


EXPERIMENT = Experiment(
    name="routers_1d",
    chapter="08",
    minutes=1,
    question="Does the router get a gradient, who gets the load, and how well does the mixture fit?",
    settings=[dict(kind=kind, task=task, seeds=20) for task in TASKS for kind in KINDS],
    run=run,
)
