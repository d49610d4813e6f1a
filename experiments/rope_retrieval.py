"""Chapter 03: a value is asked for from farther away than the model was trained for: what the ways of reading lose and keep."""

import torch

from experiments.rope_lengths import TUNING, L, ways
from experiments.runner import Experiment
from minimistral.lab.retrieval import found_by_distance, retrieval_config, train_retrieval
from minimistral.transformer import Transformer

STEPS = 200
EDGES = [1, 33, 64, 96, 128, 192, 256]  # of distance; 63 is the largest in training


def trained(seed: int, kind: str) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(retrieval_config())
    for _ in train_retrieval(model, L, STEPS, seed, kind=kind):
        pass
    return model


def run(seed: int) -> dict:
    model = trained(seed, "rotated")
    result = {"trained length": found_by_distance(model, L, EDGES[:3])}
    for name, (copied, how) in ways(model, 4).items():
        before = found_by_distance(copied, 4 * L, EDGES, **how)
        for _ in train_retrieval(copied, 4 * L, TUNING, 1_000 + seed, rate=1e-3, batch_size=16, **how):
            pass
        result[name] = [before, found_by_distance(copied, 4 * L, EDGES, **how)]
    result["no positions"] = [found_by_distance(trained(seed, "none"), 4 * L, EDGES, kind="none")]
    return result


EXPERIMENT = Experiment(
    name="rope_retrieval",
    chapter="03",
    minutes=3,
    question="How often is a value found that stands farther back than any did in training?",
    settings=[dict(seed=seed) for seed in range(8)],
    run=run,
)
